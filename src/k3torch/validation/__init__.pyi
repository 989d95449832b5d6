"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import arguments as arguments
from . import baselines as baselines
from . import curves as curves
from . import differences as differences
from . import engines as engines
from . import fold_scaling as fold_scaling
from . import folds as folds
from . import jobs as jobs
from . import metric_units as metric_units
from . import predictions as predictions
from . import result as result
from . import result_files as result_files
from . import result_views as result_views
from . import stopping as stopping
from .cross_validate import cross_validate as cross_validate
from .result import CrossValidation as CrossValidation
from .result import Interrupted as Interrupted
from .result import Interval as Interval
