"""The public names, for ``lazy_loader`` and for type checkers."""

from . import data as data
from . import models as models
from . import reports as reports
from . import serving as serving
from . import sklearn as sklearn
from . import stack as stack
from . import training as training
from . import validation as validation
from .data.bags import BagDataset as BagDataset
from .data.bags import bag_loader as bag_loader
from .data.bags import bag_of_words as bag_of_words
from .data.loaders import array_loader as array_loader
from .data.loaders import class_weights as class_weights
from .data.scaling import Standardizer as Standardizer
from .errors import InputError as InputError
from .models.builders import boston_regressor as boston_regressor
from .models.builders import digit_classifier as digit_classifier
from .models.builders import imdb_classifier as imdb_classifier
from .models.builders import vanilla_model as vanilla_model
from .models.layers import SparseDense as SparseDense
from .runtime import configure as configure
from .training.checkpoint import ExactCheckpoint as ExactCheckpoint
from .training.fast_model import FastModel as FastModel
from .training.fast_model import FastSequential as FastSequential
from .validation.cross_validate import cross_validate as cross_validate
from .validation.result import CrossValidation as CrossValidation
from .validation.result import Interrupted as Interrupted
from .validation.result import Interval as Interval
from .validation.search import search as search
from .validation.search_result import SearchResult as SearchResult

__version__: str
