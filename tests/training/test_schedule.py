"""The learning rate is the docstring's formula."""

import math

import pytest

from charrnn.training.schedule import Course, learning_rate, warmup_steps

TOTAL, HIGHEST, WARM_UP, FINAL = 57, 0.3, 7, 0.1


def rate(step: int, schedule: str = "cosine", **changes: int) -> float:
    settings = {"total_steps": TOTAL, "warmup_steps": WARM_UP} | changes
    course = Course(total_steps=settings["total_steps"], since_step=settings["warmup_steps"])
    return rate_on(course, step, schedule, settings["warmup_steps"])


def rate_on(course: Course, step: int, schedule: str = "cosine", warmup_steps: int = WARM_UP) -> float:
    return learning_rate(
        step, course=course, highest=HIGHEST, warmup_steps=warmup_steps, schedule=schedule, final_share=FINAL
    )


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


@pytest.mark.parametrize("total_steps", [32, 40, 200])
def test_a_course_that_is_set_anew_goes_on_from_where_it_is_and_ends_low(total_steps: int) -> None:
    before = Course(total_steps=TOTAL, since_step=WARM_UP)
    after = before.ending_at(total_steps, 30)
    rates = [rate_on(after, step) for step in range(30, total_steps)]
    assert rates[0] == pytest.approx(rate_on(before, 30))
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == pytest.approx(FINAL * HIGHEST)
    # Evenly: the progress of each step is that of the one before and the same share more.
    shares = [after.progress(step + 1) - after.progress(step) for step in range(30, total_steps - 1)]
    assert shares == pytest.approx([shares[0]] * len(shares))


def test_set_anew_within_the_warm_up_a_course_is_one_that_was_so_from_the_beginning() -> None:
    course = Course(total_steps=TOTAL, since_step=WARM_UP).ending_at(90, 3)
    assert course == Course(total_steps=90, since_step=WARM_UP)


def test_a_course_that_ends_here_and_then_does_not() -> None:
    """Time ran out, and is there again in a resumed run: from the lowest rate on, never up."""
    course = Course(total_steps=TOTAL, since_step=WARM_UP).ending_at(30, 30).ending_at(50, 30)
    assert [rate_on(course, step) for step in range(30, 50)] == sorted(
        (rate_on(course, step) for step in range(30, 50)), reverse=True
    )
