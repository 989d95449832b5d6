"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import arrays as arrays
from . import bags as bags
from . import boston as boston
from . import column as column
from . import column_kinds as column_kinds
from . import columns as columns
from . import columns_json as columns_json
from . import digits as digits
from . import imdb as imdb
from . import imdb_sources as imdb_sources
from . import loaders as loaders
from . import npz as npz
from . import scaling as scaling
from . import sparse as sparse
from . import table as table
from . import table_files as table_files
from . import table_target as table_target
from . import table_text as table_text
from . import text as text
from .bags import BagDataset as BagDataset
from .bags import bag_loader as bag_loader
from .bags import bag_of_words as bag_of_words
from .loaders import array_loader as array_loader
from .loaders import class_weights as class_weights
from .scaling import Standardizer as Standardizer
