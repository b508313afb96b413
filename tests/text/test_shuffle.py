import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text.shuffle import Order, StoredShuffle, computed_shuffle

SIZES = [*range(1, 130), 255, 256, 257, 4095, 4096, 4097, 8192, 65_537]


def whole(count: int, seed: int = 3, epoch: int = 0) -> list[int]:
    return computed_shuffle(count, seed)(epoch, np.arange(count)).tolist()


@pytest.mark.parametrize("epoch", [0, 7])
def test_every_window_comes_once(epoch: int) -> None:
    for count in SIZES:
        assert sorted(whole(count, epoch=epoch)) == list(range(count)), count


def test_every_epoch_and_every_seed_has_its_own_order() -> None:
    orders = {tuple(whole(100, seed, epoch)) for seed in (0, 1, 2**63 - 1) for epoch in range(50)}
    assert len(orders) == 150


@given(st.integers(1, 20_000), st.data())
def test_a_part_of_an_order_is_that_of_the_whole(count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    assert computed_shuffle(count, 5)(2, np.arange(start, stop)).tolist() == whole(count, 5, 2)[start:stop]


def chi_squared(counts: np.ndarray) -> float:
    """Per degree of freedom: near 1 if all are equally likely, within 1 +- 5 * sqrt(2 / freedom) nearly always."""
    expected = counts.mean()
    return float(((counts - expected) ** 2 / expected).sum() / (counts.size - 1))


def test_all_orders_are_equally_likely() -> None:
    """Of 4 windows there are 24; with 4 rounds where there are 12 this would tell."""
    order = computed_shuffle(4, 0)
    orders = np.array([order(epoch, np.arange(4)) for epoch in range(1200)])
    counts = np.unique(orders, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert chi_squared(counts) < 1 + 5 * np.sqrt(2 / 23)


def test_every_window_is_equally_likely_at_every_place_and_after_every_other() -> None:
    order = computed_shuffle(13, 0)
    orders = np.array([order(epoch, np.arange(13)) for epoch in range(1300)])
    places = np.array([np.bincount(column, minlength=13) for column in orders.T])
    assert chi_squared(places) < 1 + 5 * np.sqrt(2 / 144)
    followers = np.bincount(orders[:, :-1].ravel() * 13 + orders[:, 1:].ravel(), minlength=169).reshape(13, 13)
    assert not followers.diagonal().any()
    assert chi_squared(followers[~np.eye(13, dtype=bool)]) < 1 + 5 * np.sqrt(2 / 155)


def test_neighbours_do_not_stay_neighbours() -> None:
    """Two numbers below n drawn at random lie n / 3 apart on average."""
    for count in (100, 9_973):
        apart = np.abs(np.diff(whole(count))).mean()
        assert apart == pytest.approx(count / 3, rel=0.15)


def test_memory_does_not_grow_with_the_number_of_windows() -> None:
    order = computed_shuffle(10**12, 1)
    tracemalloc.start()
    windows = order(3, np.arange(10**12 - 64, 10**12))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(set(windows.tolist())) == 64
    assert 0 <= windows.min() < windows.max() < 10**12
    assert peak < 1_000_000


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (computed_shuffle(124, 3), [18, 77, 120, 78, 57, 101]),
        (computed_shuffle(121, 3), [1, 82, 86, 23, 71, 97]),  # a square
        (StoredShuffle(124, 3), [103, 66, 53, 101, 67, 41]),
    ],
    ids=["computed", "square", "stored"],
)
def test_an_order_is_the_same_for_ever(order: Order, expected: list[int]) -> None:
    """What a checkpoint resumes: numpy may change `permutation` between versions, and this would tell."""
    assert order(0, np.arange(6)).tolist() == expected


def test_the_order_of_the_first_version_is_that_of_its_epoch() -> None:
    order = StoredShuffle(50, 9)
    for epoch in (0, 1, 0):
        expected = np.random.default_rng([9, epoch]).permutation(50)
        assert order(epoch, np.arange(10, 20)).tolist() == expected[10:20].tolist()
