"""SplitMix64: random numbers that are a function of seed and place, so that many rows of them are made at once.

Guy Steele, Doug Lea, Christine Flood, Fast Splittable Pseudorandom Number Generators, OOPSLA 2014. numpy's generators
draw a row at a time, and their import takes 6 MB and a tenth of the start of `charrnn-sample` (OpenSSL is in it).
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["SplitMix64", "mix"]

Words: TypeAlias = npt.NDArray[np.uint64]
_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
"""Shift right, and factor: z becomes (z ^ z >> shift) * factor, modulo 2^64."""
_LAST_SHIFT = 31


class SplitMix64:
    """A generator for each row: that of row r is seeded with number r of the generator that `seed` seeds."""

    def __init__(self, seed: int, rows: range) -> None:
        """seed: at least 0, below 2^64."""
        self._seeds = _numbers(np.array([seed], np.uint64), rows.start, 1, len(rows))[0, 0]
        self._drawn = 0

    def uniform(self, steps: int, count: int) -> npt.NDArray[np.float64]:
        """The next `steps` times `count` numbers of each row, above 0 and below 1: float64 [steps, rows, count].

        A random number of 64 bits gives two, the lower half first: k in (k + 1/2) / 2^32. A step begins with a new one.
        """
        words = -(-count // 2)
        numbers = _numbers(self._seeds, self._drawn, steps, words)
        self._drawn += steps * words
        uniform = numbers.astype("<u8", copy=False).view("<u4")[:, :, :count].astype(np.float64)
        uniform += 0.5
        uniform *= 2.0**-32
        return uniform


def _numbers(seeds: Words, start: int, steps: int, count: int) -> Words:
    """Numbers `start` and on of the generators with these seeds [rows]: [steps, rows, count]."""
    places = np.arange(start + 1, start + 1 + steps * count, dtype=np.uint64).reshape(steps, 1, count)
    return mix(places * _STEP + seeds[:, None])


def mix(z: Words) -> Words:
    """SplitMix64's output function: each number below 2^64 becomes another one, as if at random.

    z: uint64 of any shape; it is overwritten, and returned.
    """
    shifted = np.empty_like(z)
    for shift, factor in _MIX:
        z ^= np.right_shift(z, np.uint64(shift), out=shifted)
        z *= np.uint64(factor)
    z ^= np.right_shift(z, np.uint64(_LAST_SHIFT), out=shifted)
    return z
