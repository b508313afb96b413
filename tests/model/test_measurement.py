"""`auto` at the start of a run: the fastest that agrees with the reference, and why others do not count."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from charrnn.model import measurement
from charrnn.model.backends import BACKENDS, Backend
from charrnn.model.cells import CELLS, Cell, States
from charrnn.model.fused import fused
from charrnn.model.measurement import Measurement, measure
from charrnn.model.recurrence import Recurrence, reference

TANH, CPU = CELLS["tanh"], torch.device("cpu")
DTYPES = [torch.float32, torch.bfloat16, torch.float64]


class Clock:
    """A clock that a candidate sets forward: nothing here hangs on how busy the machine is."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


CLOCK = Clock()


def changed(outputs: Callable[[Tensor], Tensor], seconds: float) -> Recurrence:
    """`fused` with something done to its outputs; it takes `seconds`."""

    def run(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
        CLOCK.now += seconds
        given, after = fused(cell, inputs, states, W_h, b_u)
        return outputs(given), after

    return run


class _BackwardTimes(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient * 0.9


def crash(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
    raise RuntimeError("no kernel image is available\nfor this device")


@pytest.fixture
def candidates(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make these the table, with the reference."""

    def set_to(**runs: Recurrence) -> None:
        table = {name: Backend(run=run) for name, run in runs.items()} | {"reference": Backend(run=reference)}
        monkeypatch.setattr(measurement, "BACKENDS", table)

    monkeypatch.setattr(measurement, "time", CLOCK)
    return set_to


def found(dtype: torch.dtype = torch.float32) -> Measurement:
    return measure(TANH, T=5, B=3, H=8, device=CPU, dtype=dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_fastest_that_agrees_is_taken(candidates: Callable[..., None], dtype: torch.dtype) -> None:
    candidates(
        wrong=changed(lambda outputs: outputs * 1.1, 0.01),
        wrong_backwards=changed(_BackwardTimes.apply, 0.01),
        crashing=crash,
        slow=changed(lambda outputs: outputs, 0.05),
        quick=changed(lambda outputs: outputs, 0.02),
    )
    measurement = found(dtype)
    assert measurement.name == "quick"
    assert measurement.seconds == pytest.approx({"slow": 0.05, "quick": 0.02})
    assert list(measurement.passed_over) == ["wrong", "wrong_backwards", "crashing"]
    assert measurement.passed_over["wrong"].startswith("the output differs from the reference's by 0.1")
    assert "the gradient by embedding differs from the reference's by 0." in measurement.passed_over["wrong_backwards"]
    assert measurement.passed_over["crashing"] == "it fails (no kernel image is available)"
    assert str(measurement).startswith("quick, 2.5 x slow (wrong: the output differs")


def test_what_is_no_number_does_not_agree(candidates: Callable[..., None]) -> None:
    candidates(none=changed(lambda outputs: outputs * float("nan"), 0.01))
    measurement = found()
    assert (measurement.name, list(measurement.passed_over)) == ("reference", ["none"])
    assert str(measurement).startswith("reference (none: the output differs from the reference's by nan")


def test_of_two_that_are_about_equally_fast_the_first_is_taken(candidates: Callable[..., None]) -> None:
    """Which one it is does not hang on noise."""
    candidates(first=changed(lambda outputs: outputs, 0.0205), second=changed(lambda outputs: outputs, 0.02))
    assert found().name == "first"
    candidates(first=changed(lambda outputs: outputs, 0.0215), second=changed(lambda outputs: outputs, 0.02))
    assert found().name == "second"


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_all_that_can_run_here_agree_for_many_shapes(dtype: torch.dtype) -> None:
    for T, B, H in ((1, 1, 1), (100, 8, 30), (40, 3, 129)):
        found = measure(TANH, T=T, B=B, H=H, device=CPU, dtype=dtype)
        able = {name for name, entry in BACKENDS.items() if not entry.refusal(TANH, CPU, dtype)}
        assert found.seconds.keys() == able - {"reference"}, str(found)
        assert found.passed_over.keys() <= {"native"}


def test_the_run_s_random_numbers_stay_what_they_are() -> None:
    before = torch.get_rng_state()
    found()
    assert torch.equal(torch.get_rng_state(), before)


def test_a_long_text_is_cut_so_that_the_work_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths = []

    def run(cell: Cell, inputs: Tensor, states: States, W_h: Tensor, b_u: Tensor | None) -> tuple[Tensor, States]:
        lengths.append(len(inputs))
        return fused(cell, inputs, states, W_h, b_u)

    monkeypatch.setattr(measurement, "BACKENDS", {"one": Backend(run=run), "reference": Backend(run=reference)})
    measure(TANH, T=10_000, B=8, H=64, device=CPU, dtype=torch.float32)
    assert set(lengths) == {measurement.CHECKED_CHARACTERS // 8, measurement.TIMED_CHARACTERS // 8}
    lengths.clear()
    measure(TANH, T=3, B=8, H=64, device=CPU, dtype=torch.float32)
    assert set(lengths) == {3}
    lengths.clear()
    monkeypatch.setattr(measurement, "CPU_FLOP", 20 * 6 * 8 * 64 * 64)
    measure(TANH, T=10_000, B=8, H=64, device=CPU, dtype=torch.float32)
    assert set(lengths) == {20}
    lengths.clear()
    monkeypatch.setattr(measurement, "CPU_FLOP", 6 * 8 * 64 * 64)  # one step, too few to tell
    measure(TANH, T=10_000, B=8, H=64, device=CPU, dtype=torch.float32)
    assert set(lengths) == {measurement.FEWEST_STEPS}
