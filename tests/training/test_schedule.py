"""The learning rate is the docstring's formula."""

import math

import pytest

from charrnn.training.schedule import learning_rate, warmup_steps

TOTAL, HIGHEST, WARM_UP, FINAL = 57, 0.3, 7, 0.1


def rate(step: int, schedule: str = "cosine", **changes: int) -> float:
    settings = {"total_steps": TOTAL, "warmup_steps": WARM_UP} | changes
    return learning_rate(step, highest=HIGHEST, schedule=schedule, final_share=FINAL, **settings)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_warm_up_rises_in_equal_steps_and_never_starts_at_zero(schedule: str) -> None:
    assert [rate(step, schedule) for step in range(WARM_UP)] == pytest.approx(
        [HIGHEST * (step + 1) / WARM_UP for step in range(WARM_UP)]
    )


def test_the_cosine_begins_at_the_highest_and_ends_at_its_share_of_it() -> None:
    assert rate(WARM_UP - 1) == rate(WARM_UP) == HIGHEST
    assert rate(TOTAL - 1) == pytest.approx(FINAL * HIGHEST)
    # 49 intervals from step 7 to step 56: no step is exactly half-way, two are equally far from it.
    assert rate(31) + rate(32) == pytest.approx(HIGHEST * (1 + FINAL))


def test_the_cosine_is_the_formula_at_every_step() -> None:
    for step in range(WARM_UP, TOTAL):
        p = (step - WARM_UP) / (TOTAL - 1 - WARM_UP)
        assert rate(step) == pytest.approx(HIGHEST * (FINAL + (1 - FINAL) * (1 + math.cos(math.pi * p)) / 2))


def test_a_constant_rate_is_constant_after_the_warm_up() -> None:
    assert {rate(step, "constant") for step in range(WARM_UP, 3 * TOTAL)} == {HIGHEST}


def test_without_a_warm_up_the_first_step_has_the_highest_rate() -> None:
    assert rate(0, warmup_steps=0) == rate(0, "constant", warmup_steps=0) == HIGHEST


@pytest.mark.parametrize("total_steps", [1, WARM_UP, WARM_UP + 1])
def test_a_run_no_longer_than_its_warm_up(total_steps: int) -> None:
    rates = [rate(step, total_steps=total_steps) for step in range(total_steps)]
    assert rates == sorted(rates)
    assert 0 < rates[-1] <= HIGHEST
    # Asked for beyond the end, as after a resume with fewer steps: the lowest rate, not the cosine's next rise.
    assert rate(5 * TOTAL) == pytest.approx(FINAL * HIGHEST)


@pytest.mark.parametrize(
    ("asked", "total_steps", "steps_per_epoch", "expected"),
    [
        (100, 1000, 100, 100),
        (100, 101, 20, 100),
        (100, 100, 100, 10),  # all steps within the warm-up
        (100, 37, 100, 3),
        (100, 9, 100, 0),
        (100, 190, 19, 19),  # few steps an epoch
        (100, 200, 20, 100),
        (100, 5000, 5, 100),  # many epochs: a tenth is more than was asked for
        (10, 2000, 5, 10),
        (0, 5, 5, 0),
    ],
)
def test_the_warm_up_of_a_short_run_is_a_tenth_of_it(
    asked: int, total_steps: int, steps_per_epoch: int, expected: int
) -> None:
    assert warmup_steps(asked, total_steps=total_steps, steps_per_epoch=steps_per_epoch) == expected
