"""Select the torch backend before any test module imports Keras."""

import k3torch  # noqa: F401
