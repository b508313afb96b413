"""The learning rate as a pure function of the step and of the run's course, which a checkpoint holds."""

import math
from dataclasses import dataclass, replace
from typing import Self

__all__ = ["Course", "learning_rate", "warmup_steps"]

SHORT_EPOCH_STEPS = 20
"""A text with fewer steps to an epoch than this is short: its runs are, too, or see it very often."""


def warmup_steps(asked: int, *, total_steps: int, steps_per_epoch: int) -> int:
    """The steps of warm-up in a run that was asked for `asked`: at most a tenth of a short one.

    A run is short where all its steps lie within the warm-up, and where the text is.
    """
    short = total_steps <= asked or steps_per_epoch < SHORT_EPOCH_STEPS
    return min(asked, total_steps // 10) if short else asked


@dataclass(frozen=True, kw_only=True)
class Course:
    """How far a run is between the end of its warm-up and its last step; that may be set anew on the way."""

    total_steps: int
    """Optimiser steps of the run."""
    since_step: int
    """Where `total_steps` was last set, or the warm-up ends."""
    since_progress: float = 0.0
    """The progress there, from 0 to 1."""

    def progress(self, step: int) -> float:
        """From 0 after the warm-up to 1 at the last step (total_steps - 1), without a jump where that was set anew."""
        share = (step - self.since_step) / max(1, self.total_steps - 1 - self.since_step)
        return self.since_progress + (1 - self.since_progress) * min(1.0, share)

    def ending_at(self, total_steps: int, step: int) -> Self:
        """The same up to `step`, and from there on to another end."""
        if step <= self.since_step:
            return replace(self, total_steps=total_steps)
        return replace(self, total_steps=total_steps, since_step=step, since_progress=self.progress(step))


def learning_rate(
    step: int, *, course: Course, highest: float, warmup_steps: int, schedule: str, final_share: float
) -> float:
    """The rate for optimiser step `step` (0, 1, ..., total_steps - 1).

    Linear from highest / warmup_steps to `highest` over the warm-up; then constant, or
    `highest` (final + (1 - final) (1 + cos(pi p)) / 2), p the progress of `course` (Loshchilov & Hutter 2017, one
    cycle).
    """
    if step < warmup_steps:
        return highest * (step + 1) / warmup_steps
    if schedule == "constant":
        return highest
    return highest * (final_share + (1 - final_share) * (1 + math.cos(math.pi * course.progress(step))) / 2)
