"""Captures need CUDA (test_cuda.py); without one, what surrounds them is tested."""

import gc

from k3torch.training.cuda_capture import _no_garbage_collection
import pytest


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_collection_pauses_and_then_is_as_before(enabled):
    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(ValueError), _no_garbage_collection():  # noqa: PT011, PT012
            assert not gc.isenabled()
            raise ValueError
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
