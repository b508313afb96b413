"""Processes that form a group where there has been one before: started anew (`--max_restarts`), or for a second run."""

import itertools
import multiprocessing
import os
from datetime import timedelta
from pathlib import Path

from torch.distributed import init_process_group
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["join_again"]

_groups = itertools.count()
"""Process groups that this process has been in. All processes of a launch have had as many."""


def join_again(backend: str, timeout: timedelta) -> None:
    """Make the process group before accelerate does, where the launcher's key-value store may have had one before.

    What that wrote there misleads the next one: it fails, or hangs. Ours has keys of its own for each.
    """
    group, attempt, launch = next(_groups), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"), _launch()
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or (group, attempt, launch) == (0, "0", ""):
        return  # a store is made anew for each group, or is new
    launcher, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"charrnn/{launch}/attempt-{attempt}/group-{group}", launcher)
    init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)


def _launch() -> str:
    """What tells this launch from others of a process that launches several, a notebook's kernel; empty elsewhere.

    The store of one that was interrupted lives on there. A launch keeps its errors in a directory of its own, whose
    name only the processes of one machine know.
    """
    errors = os.environ.get("TORCHELASTIC_ERROR_FILE", "")
    if multiprocessing.parent_process() is None or os.environ.get("GROUP_WORLD_SIZE") != "1" or not errors:
        return ""
    return "-".join(Path(errors).parts[-5:-3])
