"""A launch that starts its processes again (`--max_restarts`)."""

import os
from datetime import timedelta

from torch.distributed import init_process_group
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["join_again"]


def join_again(backend: str, timeout: timedelta) -> None:
    """Make the process group of a restarted launch (`--max_restarts`) before accelerate does.

    The launcher's key-value store lives on, and what the attempt before wrote there misleads the next one: it fails, or
    hangs. Ours has keys of its own for each attempt.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return  # then a store is made anew for each attempt
    launcher, rank, world_size = next(rendezvous("env://", timeout=timeout))
    store = PrefixStore(f"charrnn/attempt-{os.environ['TORCHELASTIC_RESTART_COUNT']}", launcher)
    init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=timeout)
