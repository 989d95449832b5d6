"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import batch_loop as batch_loop
from . import blas as blas
from . import compiled_check as compiled_check
from . import compiled_loops as compiled_loops
from . import compiled_models as compiled_models
from . import cpp_prefix as cpp_prefix
from . import cpp_recorder as cpp_recorder
from . import cuda_graphs as cuda_graphs
from . import device_choice as device_choice
from . import fixed_randomness as fixed_randomness
from . import graph_nodes as graph_nodes
from . import graph_rewrites as graph_rewrites
from . import graphs as graphs
from . import inductor_cpp as inductor_cpp
from . import joined_graph as joined_graph
from . import lifted_numbers as lifted_numbers
from . import mapped_models as mapped_models
from . import model_group as model_group
from . import model_stack as model_stack
from . import reasons as reasons
from . import stateless as stateless
from . import step_graphs as step_graphs
from . import torch_internals as torch_internals
from . import verified_stack as verified_stack
from . import workers as workers
