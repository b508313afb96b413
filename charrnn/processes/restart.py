"""Processes that form a group again: a launch starts them anew (`--max_restarts`), or they have a second run."""

import itertools
import os
from datetime import timedelta

from torch.distributed import init_process_group
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["join_again"]


_groups = itertools.count()
"""Process groups that this process has been in. All processes of a launch have had as many."""


def join_again(backend: str, timeout: timedelta) -> None:
    """Make the process group before accelerate does, where the launcher's key-value store has had one before.

    What that wrote there misleads the next one: it fails, or hangs. Ours has keys of its own for each.
    """
    group, attempt = next(_groups), os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True" or (attempt, group) == ("0", 0):
        return  # a store is made anew for each group, or is new
    launcher, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"charrnn/attempt-{attempt}/group-{group}", launcher)
    init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
