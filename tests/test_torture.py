"""Ways to die: one round of each, most of them marked `slow`. `tests/torture.py` has them all, as often as you like."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished, Once
from tests.torture import CASES, PROCESSES, SPECIAL, Case, bits, make_base, one_after_another, try_case, undisturbed

QUICK = {("one death after another", 2)}
Base = Callable[[str], Path]
Reference = Callable[[Path, int], dict[str, object]]


@pytest.fixture(scope="module")
def base(once: Once) -> Base:
    """`base(cell)`: where runs with this cell are made."""

    def made(cell: str) -> Path:
        return once(f"torture-{cell}", lambda path: Finished(make_base(path, cell), 0, "", "")).run / cell

    return made


@pytest.fixture(scope="module")
def reference(once: Once) -> Reference:
    """`reference(base, processes)`: the bits of a run that nothing happens to."""

    def made(base: Path, processes: int) -> dict[str, object]:
        once(f"undisturbed-{base.name}-{processes}", lambda _: Finished(undisturbed(base, processes), 0, "", ""))
        return bits(base / "undisturbed" / f"run-{processes}")

    return made


def rounds(cases: list[tuple[str, Any, int]]) -> list[Any]:
    return [
        pytest.param(
            what,
            processes,
            marks=[pytest.mark.distributed] + ([] if (name, processes) in QUICK else [pytest.mark.slow]),
            id=f"{name}-{processes}",
        )
        for name, what, processes in cases
    ]


@pytest.mark.parametrize(("case", "processes"), rounds([(c.name, c, n) for c in CASES for n in c.processes]))
def test_a_run_cannot_be_lost(case: Case, processes: int, base: Base, reference: Reference) -> None:
    place = base("tanh")
    if case.disk or "read-only" in case.name:
        probe = subprocess.run(["mount", "--bind", place, place], capture_output=True)
        if probe.returncode:
            pytest.skip(f"not here: cannot mount: {probe.stderr.decode().strip()}")
        subprocess.run(["umount", place], check=True)
    outcome = try_case(case, processes, place, reference(place, processes), random.Random(7))
    assert (outcome.same, outcome.left) == (True, 0), outcome


@pytest.mark.parametrize(
    ("act", "processes"), rounds([(name, act, n) for name, act in SPECIAL.items() for n in PROCESSES.get(name, (1, 2))])
)
def test_two_launches_and_nan(act: Callable[..., Any], processes: int, base: Base, reference: Reference) -> None:
    place = base("tanh")
    outcome = act(processes, place, reference(place, processes), random.Random(7))
    assert (outcome.same, outcome.left) == (True, 0), outcome


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_no_cell_is_lost(cell: str, base: Base, reference: Reference) -> None:
    place = base(cell)
    outcome = one_after_another(2, place, reference(place, 2), random.Random(7))
    assert (outcome.same, outcome.left) == (True, 0), outcome
