"""SplitMix64 in numpy makes the numbers of SplitMix64 in plain integers, and those are the published ones."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest

from charrnn.splitmix import SplitMix64, mix

STEP = 0x9E3779B97F4A7C15


def uniform_numbers(seed: int, row: int, count: int) -> Iterator[np.ndarray]:
    """As export/README.md has them, `count` for each character."""
    (start,) = itertools.islice(splitmix64(seed), row, row + 1)
    generator = splitmix64(start)
    while True:
        words = [next(generator) for _ in range((count + 1) // 2)]
        halves = [half for word in words for half in (word % 2**32, word // 2**32)]
        yield (np.array(halves[:count]) + 0.5) / 2**32


def splitmix64(seed: int) -> Iterator[int]:
    while True:
        z = seed = (seed + STEP) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def test_it_is_splitmix64() -> None:
    """The first numbers of seed 1234567, as Rosetta Code has them (Pseudo-random numbers/Splitmix64)."""
    assert list(itertools.islice(splitmix64(1234567), 3)) == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("count", [1, 6, 7])
@pytest.mark.parametrize("seed", [0, 7, 2**64 - 1])
def test_uniform_numbers(seed: int, count: int) -> None:
    generator = SplitMix64(seed, range(3))
    drawn = np.concatenate([generator.uniform(steps, count) for steps in (1, 20, 2)])
    for row, numbers in enumerate(drawn.swapaxes(0, 1)):
        np.testing.assert_array_equal(numbers, [*itertools.islice(uniform_numbers(seed, row, count), 23)])


def test_mix_overwrites_what_it_is_given() -> None:
    """It is the output function: the first number of seed S is that of S + STEP, whatever shape such numbers have."""
    seeds = [[0, 7, 2**64 - 1], [1234567, 2**63, 8]]
    z = np.array([[(seed + STEP) % 2**64 for seed in row] for row in seeds], np.uint64)
    assert mix(z) is z
    assert z.tolist() == [[next(splitmix64(seed)) for seed in row] for row in seeds]
