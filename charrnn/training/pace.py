"""How fast training goes."""

import time

__all__ = ["Pace"]


class Pace:
    """Characters per second between two moments, each at the end of a step."""

    def __init__(self, step: int, characters_per_step: int) -> None:
        self._characters_per_step = characters_per_step
        self.restart(step)

    def restart(self, step: int) -> None:
        """Leave out what has passed: something else than training."""
        self._step, self._seconds = step, time.perf_counter()

    def lap(self, step: int) -> float:
        """Characters per second since the last call, or `restart`."""
        before, seconds = self._step, self._seconds
        self.restart(step)
        return (step - before) * self._characters_per_step / (self._seconds - seconds)
