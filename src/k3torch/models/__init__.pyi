"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import arguments as arguments
from . import builders as builders
from . import graph as graph
from . import layers as layers
from . import names as names
from . import network as network
from . import optimizers as optimizers
from . import probabilities as probabilities
from .builders import boston_regressor as boston_regressor
from .builders import digit_classifier as digit_classifier
from .builders import imdb_classifier as imdb_classifier
from .builders import table_network as table_network
from .builders import vanilla_model as vanilla_model
from .layers import SparseDense as SparseDense
