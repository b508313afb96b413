"""The time that was promised for a run, and how many steps fit into what is left of it."""

import time

__all__ = ["Deadline"]

_EXPORT_SECONDS = 6.0
"""For the file, its check against torch, the plot, W&B's last words, and the end of the process."""
_NEWEST = 0.3
"""Share of the newest measurement in what a step takes: other programs come and go, single steps are slow by chance."""
_WORTH = 0.01
"""A number of steps that is not more than this beside the one before stays."""


class Deadline:
    """Counts the seconds of a run, those between two processes left out."""

    def __init__(self, minutes: float, *, began: float) -> None:
        """`began`: when this process began with the run, as `time.monotonic` says it."""
        self._began = began
        self.seconds = 60 * minutes
        """That were promised."""
        self._step_seconds = self._evaluation_seconds = 0.0
        self._ending_seconds = _EXPORT_SECONDS

    @property
    def spent(self) -> float:
        """Seconds that the run has taken."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float:
        """Seconds that are left for training, the evaluations on the way included."""
        return max(0.0, self.seconds - self.spent - self._ending_seconds)

    @property
    def clock(self) -> str:
        """When the promised time is over, as a clock here says it."""
        return time.strftime("%H:%M:%S", time.localtime(time.time() + self.seconds - self.spent))

    def resume(self, seconds: float) -> None:
        """Count what the run's earlier processes took."""
        self._began -= seconds

    def trained(self, seconds: float) -> None:
        """A step has taken `seconds`."""
        newest = _NEWEST if self._step_seconds else 1.0
        self._step_seconds += newest * (seconds - self._step_seconds)

    def evaluated(self, seconds: float, *, test_share: float) -> None:
        """An evaluation has taken `seconds`; the test split is `test_share` times as long."""
        self._evaluation_seconds = seconds
        self._ending_seconds = (1 + test_share) * seconds + _EXPORT_SECONDS

    def total_steps(self, step: int, before: int, *, evaluate_every: int) -> int:
        """Steps after which the run has to end, to be done in time; `before` where it is about as many, or unknown."""
        if not self._step_seconds:
            return before
        fit = int(self.left / (self._step_seconds + self._evaluation_seconds / evaluate_every))
        total = max(1, step + fit)
        return before if abs(total - before) <= _WORTH * before else total
