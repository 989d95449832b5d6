"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import estimators as estimators
from . import samples as samples
from .estimators import Classifier as Classifier
from .estimators import Regressor as Regressor
