"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import batch_loop as batch_loop
from . import epoch_graphs as epoch_graphs
from . import graphs as graphs
from . import inductor_cpp as inductor_cpp
from . import model_stack as model_stack
from . import stateless as stateless
