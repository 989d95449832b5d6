"""Python's garbage collector, paused while many objects are made that all stay.

The collector looks at all objects each time that their number has grown by a quarter. A Keras model has thousands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
import gc


@contextmanager
def uncollected() -> Iterator[None]:
    """Pause the garbage collector within the block, or within a decorated function."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
