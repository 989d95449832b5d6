"""The modules and public names, for ``lazy_loader`` and for type checkers."""

from . import callbacks as callbacks
from . import checkpoint as checkpoint
from . import checkpoint_file as checkpoint_file
from . import checkpoint_run as checkpoint_run
from . import checkpoint_state as checkpoint_state
from . import custom_loop as custom_loop
from . import epoch_bar as epoch_bar
from . import fast_model as fast_model
from . import fast_step as fast_step
from . import fused_losses as fused_losses
from . import fused_optimizers as fused_optimizers
from . import keras_internals as keras_internals
from . import model_state as model_state
from . import progress as progress
from . import python_state as python_state
from . import rungs as rungs
from . import saving as saving
from . import scaling_layers as scaling_layers
from . import state_comparison as state_comparison
from . import step_parts as step_parts
from . import step_threads as step_threads
from . import verified_step as verified_step
from .checkpoint import ExactCheckpoint as ExactCheckpoint
from .checkpoint import resume_fit as resume_fit
from .fast_model import FastModel as FastModel
from .fast_model import FastSequential as FastSequential
