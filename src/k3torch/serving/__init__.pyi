"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import app as app
from . import export as export
from . import formats as formats
from . import limits as limits
from . import plain_layers as plain_layers
from . import reviews as reviews
from . import source as source
from . import tables as tables
from . import word_ids as word_ids
from .export import export_run as export_run
from .plain_layers import plain_model as plain_model
