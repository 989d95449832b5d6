"""Which of several processes of one run this is, before torch is imported and after: one of them prints and writes.

``torchrun`` starts them and tells each its number in the environment.
"""

import os
import sys
from typing import Any


class OtherProcessEnded(RuntimeError):  # noqa: N818  (what happened to another process)
    """Another process of this run has ended or does not answer; the message is a single line."""


def is_main() -> bool:
    """Return whether this process is the one that prints and writes; a process alone is."""
    group = _group()
    if group is not None:
        return bool(group.get_rank() == 0)
    return started() == 1 or os.environ.get("RANK", "0") == "0"


def rank() -> int:
    """Return the number of this process in torch's default group, from 0; 0 before the group is made."""
    group = _group()
    return 0 if group is None else int(group.get_rank())


def count() -> int:
    """Return the number of processes in torch's default group; 1 before the group is made."""
    group = _group()
    return 1 if group is None else int(group.get_world_size())


def started() -> int:
    """Return how many processes ``torchrun`` started; 1 without it."""
    value = os.environ.get("WORLD_SIZE", "")
    return int(value) if value.isdecimal() and int(value) > 0 else 1


def ends_first() -> bool:
    """Return whether no other process of the run has asked yet: of the lines that say why a run ends, one is printed.

    Without ``torchrun``'s store it is the main process that prints.
    """
    if started() == 1 or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return is_main()
    from datetime import timedelta

    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    try:  # torchrun keeps the store, which outlives the processes
        address = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = TCPStore(*address, timeout=timedelta(seconds=5), wait_for_workers=False)
        return bool(store.add(f"k3torch/ended/{attempt}", 1) == 1)
    except (KeyError, ValueError, RuntimeError):
        return is_main()


def silence() -> None:
    """Have a process that does not print write its standard output and its warnings to nowhere."""
    if not is_main():
        import warnings

        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123 (until the process ends)
        warnings.simplefilter("ignore")


def _group() -> Any:
    """Return ``torch.distributed`` if its default group has been made, else None."""
    module = sys.modules.get("torch.distributed")
    return module if module is not None and module.is_available() and module.is_initialized() else None
