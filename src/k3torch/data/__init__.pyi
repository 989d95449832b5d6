"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import arrays as arrays
from . import bags as bags
from . import boston as boston
from . import digits as digits
from . import imdb as imdb
from . import imdb_sources as imdb_sources
from . import loaders as loaders
from . import npz as npz
from . import review_folder as review_folder
from . import review_labels as review_labels
from . import review_table as review_table
from . import scaling as scaling
from . import sparse as sparse
from . import table as table
from . import text as text
from .bags import BagDataset as BagDataset
from .bags import bag_loader as bag_loader
from .bags import bag_of_words as bag_of_words
from .loaders import array_loader as array_loader
from .loaders import class_weights as class_weights
from .scaling import Standardizer as Standardizer
