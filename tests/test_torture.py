"""Ways to die: one round of each, most of them marked `slow`. `tests/torture.py` has them all, as often as you like."""

import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Finished, Once
from tests.torture import CASES, PROCESSES, SPECIAL, Case, bits, make_text, try_case, undisturbed

QUICK = {("one death after another", 2)}
Reference = Callable[[int], dict[str, object]]


@pytest.fixture(scope="module")
def base(once: Once) -> Path:
    def make(path: Path) -> Finished:
        path.mkdir()
        make_text(path / "text.txt")
        return Finished(path, 0, "", "")

    return once("torture", make).run


@pytest.fixture(scope="module")
def reference(once: Once, base: Path) -> Reference:
    """The bits of a run that nothing happens to, by number of processes."""

    def made(processes: int) -> dict[str, object]:
        def make(path: Path) -> Finished:
            return Finished(undisturbed(base, processes), 0, "", "")

        once(f"undisturbed-{processes}", make)
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
def test_a_run_cannot_be_lost(case: Case, processes: int, base: Path, reference: Reference) -> None:
    if case.disk or "read-only" in case.name:
        probe = subprocess.run(["mount", "--bind", base, base], capture_output=True)
        if probe.returncode:
            pytest.skip(f"not here: cannot mount: {probe.stderr.decode().strip()}")
        subprocess.run(["umount", base], check=True)
    outcome = try_case(case, processes, base, reference(processes), random.Random(7))
    assert (outcome.same, outcome.left) == (True, 0), outcome


@pytest.mark.parametrize(
    ("act", "processes"), rounds([(name, act, n) for name, act in SPECIAL.items() for n in PROCESSES.get(name, (1, 2))])
)
def test_two_launches_and_nan(act: Callable[..., Any], processes: int, base: Path, reference: Reference) -> None:
    outcome = act(processes, base, reference(processes), random.Random(7))
    assert (outcome.same, outcome.left) == (True, 0), outcome
