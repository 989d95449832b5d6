"""The garbage collector is paused for a block or a function, and then as before."""

import gc

from k3torch.garbage import uncollected
import pytest


@pytest.mark.parametrize("enabled", [True, False])
def test_the_collector_pauses_and_then_is_as_before(enabled):
    @uncollected()
    def fails():
        assert not gc.isenabled()
        raise ValueError

    before = gc.isenabled()
    try:
        gc.enable() if enabled else gc.disable()
        with pytest.raises(ValueError):  # noqa: PT011
            fails()
        assert gc.isenabled() is enabled
    finally:
        gc.enable() if before else gc.disable()
