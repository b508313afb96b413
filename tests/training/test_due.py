from collections.abc import Callable

import pytest

from charrnn.training.due import Due


def due(**changes: int) -> Due:
    settings = {"evaluate_every": 6, "record_every": 4, "checkpoint_every": 5, "total_steps": 20}
    return Due(**settings | changes)


def steps(is_due: Callable[[int], bool]) -> list[int]:
    return [step for step in range(1, 21) if is_due(step)]


def test_what_is_due_when() -> None:
    assert steps(due().evaluation) == [6, 12, 18, 20], "the last step is evaluated"
    assert steps(due().record) == [4, 6, 8, 12, 16, 18, 20], "a record comes before each evaluation"
    assert steps(lambda step: due().checkpoint(step, False)) == [5, 10, 15], "the evaluation of step 20 saves one"


@pytest.mark.parametrize("step", [6, 20])
def test_an_evaluation_is_due_once_at_its_step(step: int) -> None:
    assert due(evaluated_step=step - 1).evaluation(step)
    assert not due(evaluated_step=step).evaluation(step)


def test_nothing_is_evaluated_before_the_first_step() -> None:
    assert not due().evaluation(0)


def test_a_checkpoint_by_the_clock() -> None:
    plan = due(checkpoint_every=0)
    assert steps(lambda step: plan.checkpoint(step, True)) == [step for step in range(1, 20) if step % 6]
    assert steps(lambda step: plan.checkpoint(step, False)) == []
