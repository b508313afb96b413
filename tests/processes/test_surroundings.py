"""What a run sets in its process is as before when it is over, whatever its end."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, PartialState

from charrnn.errors import RunError
from charrnn.processes.start import _same_bits_every_time, start
from charrnn.processes.surroundings import left_as_found


def surroundings() -> dict[str, Any]:
    return {
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "filled": torch.utils.deterministic.fill_uninitialized_memory,
        "tf32": torch.backends.cudnn.allow_tf32,
        "random numbers": torch.get_rng_state().tolist(),
        "accelerate": {**PartialState._shared_state},
    }


@pytest.mark.parametrize("end", [None, ZeroDivisionError, KeyboardInterrupt])
def test_all_is_as_before(end: type[BaseException] | None) -> None:
    before = surroundings()
    try:
        with left_as_found():
            start(mixed_precision="no", threads=torch.get_num_threads() % 2 + 1)
            _same_bits_every_time()  # as on a GPU
            torch.manual_seed(5)
            during = surroundings()
            if end is not None:
                raise end
    except (ZeroDivisionError, KeyboardInterrupt):
        pass
    assert not [name for name in before if during[name] == before[name]], "what is not changed is not tried"
    assert surroundings() == before


def test_an_accelerator_that_is_there_is_there_again(accelerators: Callable[[str], Accelerator]) -> None:
    theirs = accelerators("bf16")
    with left_as_found():
        assert start(mixed_precision="no", threads=1).mixed_precision == "no"
    assert theirs.mixed_precision == AcceleratorState().mixed_precision == "bf16"


def test_one_run_at_a_time() -> None:
    message = r"^this process has a run that is not at its end: wait for it, or"
    with left_as_found(), pytest.raises(RunError, match=message), left_as_found():
        pass
    with left_as_found():
        pass
