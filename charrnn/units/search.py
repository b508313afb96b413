"""How well a property of a text explains the activity of each unit: by itself, through a straight line.

r is Pearson's correlation, of a property that is 0 or 1 the point-biserial one; r² is the share of the activity's
variance that the line explains. One pass over the text in running sums: memory for units x properties, not for text.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from charrnn.units.activity import Unit
from charrnn.units.properties import Values

__all__ = ["LEAST_R2", "Correlations", "Finding"]

LEAST_R2 = 0.1
"""A property that explains less of every unit is told of none."""
_LEAST_SWING = 1e-3
"""Variance below which a unit is not worth a look; one has it that goes from 0 to 1 at a character in a thousand."""
_LEAST_VARIANCE = 1e-9
"""What rounding makes of a unit that never changes is below: it has no correlation."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Finding:
    """A unit, and what explains it."""

    unit: Unit
    variance: float
    """Of its activity: below 1, which a unit has that is as often 1 as -1."""
    name: str | None = None
    """The property; None where none explains it."""
    r: float = 0.0
    """The correlation of the two; negative where the unit is low when the property is high."""

    @property
    def r2(self) -> float:
        """The share of the variance that the property explains."""
        return self.r**2


class Correlations:
    """Of every unit with every property of a text, which is added a block at a time, all of it before it is asked."""

    def __init__(self, L: int, H: int, values: Mapping[str, Values]) -> None:
        """values: by name, the properties of the whole text, [T] each."""
        self._shape = L, H
        self._names = list(values)
        self._values = np.stack([*values.values()], axis=1) if values else None
        self.chars = 0
        """Characters that were added so far."""
        P = len(values)
        self._sum, self._squares = np.zeros(L * H), np.zeros(L * H)
        self._value_sum, self._value_squares = np.zeros(P), np.zeros(P)
        self._products = np.zeros((P, L * H))

    def add(self, activity: npt.NDArray[np.float32]) -> None:
        """Add the next characters of the text, of which the units' activity is float32 [characters, L, H]."""
        units = activity.reshape(len(activity), -1).astype(np.float64)
        self._sum += units.sum(axis=0)
        self._squares += (units**2).sum(axis=0)
        if self._values is not None:
            values = self._values[self.chars : self.chars + len(units)].astype(np.float64)
            self._value_sum += values.sum(axis=0)
            self._value_squares += (values**2).sum(axis=0)
            self._products += values.T @ units
        self.chars += len(units)

    def of_unit(self, unit: Unit) -> list[Finding]:
        """Every property with `unit`, the one that explains it best first; nothing known where there is no property."""
        place = int(np.ravel_multi_index(unit, self._shape))
        found = sorted((self._finding(p, place) for p in range(len(self._names))), key=_by_r2)
        return found or [Finding(unit, float(self._variance[place]))]

    def best_of_each(self) -> list[Finding]:
        """For each property the unit that it explains best, if by `LEAST_R2`; what explains most first."""
        visible = np.where(self._variance >= _LEAST_SWING, np.abs(self._r), 0)
        best = (self._finding(p, int(row.argmax())) for p, row in enumerate(visible))
        return sorted((each for each in best if each.r2 >= LEAST_R2), key=_by_r2)

    def unexplained(self, count: int) -> list[Finding]:
        """Of the units that no property explains by `LEAST_R2`, the `count` of highest variance."""
        most: Floats = (self._r**2).max(axis=0, initial=0.0)
        places = np.argsort(-self._variance, kind="stable")
        places = places[(most[places] < LEAST_R2) & (self._variance[places] >= _LEAST_SWING)]
        return [Finding(self._unit(int(place)), float(self._variance[place])) for place in places[:count]]

    def _finding(self, p: int, place: int) -> Finding:
        return Finding(self._unit(place), float(self._variance[place]), self._names[p], float(self._r[p, place]))

    def _unit(self, place: int) -> Unit:
        layer, number = np.unravel_index(place, self._shape)
        return Unit(int(layer), int(number))

    @cached_property
    def _variance(self) -> Floats:
        """[L * H]."""
        return _variance(self._sum, self._squares, self.chars)

    @cached_property
    def _r(self) -> Floats:
        """[P, L * H]; 0 where one of the two never changes."""
        n = max(self.chars, 1)
        covariance = self._products / n - np.outer(self._value_sum / n, self._sum / n)
        values = _variance(self._value_sum, self._value_squares, n)
        lively = (values[:, None] > 0) & np.greater_equal(self._variance, _LEAST_VARIANCE)
        deviations = np.sqrt(np.outer(values, self._variance))
        return np.divide(covariance, deviations, out=np.zeros_like(covariance), where=lively)


def _variance(sums: Floats, squares: Floats, n: int) -> Floats:
    n = max(n, 1)
    return np.maximum(squares / n - (sums / n) ** 2, 0)


def _by_r2(finding: Finding) -> float:
    return -finding.r2
