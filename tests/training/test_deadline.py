"""How many steps fit into the time that is left. The clock is the real one: what has passed is given by `began`."""

import time

import pytest

from charrnn.training.deadline import Deadline


def deadline(minutes: float = 10.0, *, passed: float = 0.0) -> Deadline:
    return Deadline(minutes, began=time.monotonic() - passed)


def test_what_is_spent_and_what_is_left() -> None:
    ours = deadline(10, passed=100)
    assert ours.spent == pytest.approx(100, abs=1)
    assert ours.left == pytest.approx(600 - 100 - 6, abs=1), "the export is kept free"
    ours.resume(50)
    assert ours.spent == pytest.approx(150, abs=1), "what earlier processes took"
    assert deadline(1, passed=100).left == 0


def test_steps_and_evaluations_share_what_is_left() -> None:
    ours = deadline(10, passed=100)
    ours.trained(0.5)
    assert ours.total_steps(40, 1, evaluate_every=10) == pytest.approx(40 + 494 / 0.5, abs=4)
    ours.evaluated(5.0, test_share=2.0)  # 15 s for the last evaluation and the test split
    assert ours.left == pytest.approx(479, abs=1)
    assert ours.total_steps(40, 1, evaluate_every=10) == pytest.approx(40 + 479 / (0.5 + 0.5), abs=4)


def test_a_step_is_what_the_last_ones_took() -> None:
    ours = deadline(10, passed=94)
    ours.trained(1.0)
    assert ours.total_steps(0, 1, evaluate_every=10) == pytest.approx(500, abs=4)
    for _ in range(20):
        ours.trained(2.0)  # another program takes a core
    assert ours.total_steps(0, 1, evaluate_every=10) == pytest.approx(250, abs=4)


def test_about_as_many_steps_as_before_are_as_many() -> None:
    ours = deadline(10, passed=94)
    ours.trained(1.0)
    assert ours.total_steps(0, 503, evaluate_every=10) == 503
    assert ours.total_steps(0, 520, evaluate_every=10) != 520


def test_before_a_step_was_timed_nothing_is_known() -> None:
    assert deadline().total_steps(3, 77, evaluate_every=10) == 77


@pytest.mark.parametrize(("step", "total"), [(0, 1), (30, 30)])
def test_where_the_time_is_over_the_run_ends_but_not_before_its_first_step(step: int, total: int) -> None:
    ours = deadline(1, passed=100)
    ours.trained(1.0)
    assert ours.total_steps(step, 500, evaluate_every=10) == total


def test_the_clock() -> None:
    expected = [time.strftime("%H:%M:%S", time.localtime(time.time() + 500 + late)) for late in (-1, 0, 1)]
    assert deadline(10, passed=100).clock in expected
