"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import benchmark as benchmark
from . import contenders as contenders
from . import curve_charts as curve_charts
from . import demos as demos
from . import digits as digits
from . import explain as explain
from . import html_report as html_report
from . import ladder as ladder
from . import machine as machine
from . import manifest as manifest
from . import nested as nested
from . import ngrams as ngrams
from . import overfitting as overfitting
from . import plots as plots
from . import run_checks as run_checks
from . import run_curves as run_curves
from . import run_folder as run_folder
from . import runs as runs
from . import sizes as sizes
from . import tables as tables
