import re
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from charrnn.errors import ConfigError, CorpusError
from charrnn.text.batches import Batches, Split, StreamBatches, WindowBatches, splits
from charrnn.text.encoded import EncodedStream
from charrnn.text.shuffle import Order, StoredShuffle, computed_shuffle

# Every id is its own position, so a batch shows where it came from.
STREAM = EncodedStream.of(np.arange(1000, dtype=np.uint16))
SPLIT = Split("train", 37, 920)  # 883 characters
EVERY_ROW = slice(None)


def windows(
    split: Split = SPLIT,
    *,
    batch_size: int = 6,
    length: int = 20,
    stride: int = 7,
    seed: int = 3,
    shuffle: Callable[[int, int], Order] = computed_shuffle,
) -> Batches:
    sizes = {"batch_size": batch_size, "length": length, "stride": stride}
    return WindowBatches(STREAM, split, **sizes, seed=seed, shuffle=shuffle)


def streams(split: Split = SPLIT, *, batch_size: int = 6, length: int = 20) -> Batches:
    return StreamBatches(STREAM, split, batch_size=batch_size, length=length)


def test_splits_are_contiguous_and_cover_the_stream() -> None:
    train, validation, test = splits(1001, validation_fraction=0.05, test_fraction=0.1)
    assert (train, validation, test) == (
        Split("train", 0, 851),
        Split("validation", 851, 901),
        Split("test", 901, 1001),
    )
    assert (len(train), len(validation), len(test)) == (851, 50, 100)


def test_the_validation_split_may_lie_at_the_start() -> None:
    assert splits(1001, validation_fraction=0.05, test_fraction=0.1, validation_at="start") == (
        Split("train", 50, 901),
        Split("validation", 0, 50),
        Split("test", 901, 1001),
    )
    none = splits(10, validation_fraction=0, test_fraction=0, validation_at="start")
    assert [len(split) for split in none] == [10, 0, 0]


def test_a_fraction_of_zero_is_an_empty_split() -> None:
    assert [len(split) for split in splits(10, validation_fraction=0, test_fraction=0.29)] == [7, 0, 3]
    assert [len(split) for split in splits(10, validation_fraction=0, test_fraction=0)] == [10, 0, 0]


@pytest.mark.parametrize("fractions", [(-0.1, 0.1), (0.1, -0.1), (0.5, 0.5), (1.0, 0), (float("nan"), 0)])
def test_fractions_that_leave_nothing_are_refused(fractions: tuple[float, float]) -> None:
    with pytest.raises(ConfigError, match="must be at least 0 each and together below 1"):
        splits(100, validation_fraction=fractions[0], test_fraction=fractions[1])


def test_each_row_of_stream_batches_runs_on_through_an_epoch() -> None:
    batches = streams()
    size = (len(SPLIT) - 1) // 6
    assert batches.steps_per_epoch == size // 20 == 7
    assert batches.carries_state
    rows = np.stack([batches.batch(0, step, EVERY_ROW) for step in range(batches.steps_per_epoch)])  # [steps, 6, 21]
    assert rows.shape == (7, 6, 21)
    for row in range(6):
        start = SPLIT.start + row * size
        np.testing.assert_array_equal(rows[:, row, :-1].ravel(), np.arange(start, start + 140))
    np.testing.assert_array_equal(rows[..., 1:], rows[..., :-1] + 1)
    np.testing.assert_array_equal(batches.batch(5, 2, EVERY_ROW), rows[2])


def test_window_batches_visit_every_window_once_in_another_order_each_epoch() -> None:
    batches = windows(batch_size=1)
    starts = np.arange(SPLIT.start, SPLIT.stop - 20, 7)
    assert batches.steps_per_epoch == len(starts) == 124
    assert not batches.carries_state
    orders = []
    for epoch in (0, 1):
        epoch_rows = np.concatenate([batches.batch(epoch, step, EVERY_ROW) for step in range(len(starts))])
        np.testing.assert_array_equal(epoch_rows, epoch_rows[:, :1] + np.arange(21))
        np.testing.assert_array_equal(np.sort(epoch_rows[:, 0]), starts)
        orders.append(epoch_rows[:, 0].tolist())
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_the_incomplete_last_batch_is_dropped() -> None:
    batches = windows(batch_size=6)
    assert batches.steps_per_epoch == 124 // 6 == 20
    seen = Counter(row[0] for step in range(20) for row in batches.batch(0, step, EVERY_ROW).tolist())
    assert len(seen) == seen.total() == 120


@pytest.mark.parametrize(
    ("shuffle", "first", "last"),
    [
        (computed_shuffle, [163, 576, 877, 583, 436, 744], [520, 268, 548, 289, 429, 681]),
        (StoredShuffle, [758, 499, 408, 744, 506, 324], [254, 408, 240, 100, 604, 814]),
    ],
)
def test_the_order_of_windows_is_the_same_for_ever(
    shuffle: Callable[[int, int], Order], first: list[int], last: list[int]
) -> None:
    """What a checkpoint resumes; the second is how charrnn 0.1.0 shuffled."""
    batches = windows(shuffle=shuffle)
    assert batches.batch(0, 0, EVERY_ROW)[:, 0].tolist() == first
    assert batches.batch(4, 19, EVERY_ROW)[:, 0].tolist() == last


@pytest.mark.parametrize("make", [streams, windows])
def test_a_batch_depends_on_epoch_and_step_alone(make: type[Batches]) -> None:
    used, new = make(), make()
    expected = used.batch(2, 3, EVERY_ROW)
    for epoch, step in [(0, 0), (9, 1), (2, 0)]:
        used.batch(epoch, step, EVERY_ROW)
    np.testing.assert_array_equal(used.batch(2, 3, EVERY_ROW), expected)
    np.testing.assert_array_equal(new.batch(2, 3, EVERY_ROW), expected)


def test_the_seed_changes_the_order_of_windows() -> None:
    assert not np.array_equal(windows(seed=3).batch(0, 0, EVERY_ROW), windows(seed=4).batch(0, 0, EVERY_ROW))


@pytest.mark.parametrize("make", [streams, windows])
@pytest.mark.parametrize("ranks", [1, 2, 3, 6])
def test_rows_of_the_ranks_tile_the_global_batch(make: type[Batches], ranks: int) -> None:
    share = 6 // ranks
    for epoch, step in [(0, 0), (1, 6)]:
        pieces = [make().batch(epoch, step, slice(rank * share, (rank + 1) * share)) for rank in range(ranks)]
        np.testing.assert_array_equal(np.concatenate(pieces), make().batch(epoch, step, EVERY_ROW))


@pytest.mark.parametrize("make", [streams, windows])
def test_steps_outside_an_epoch_are_refused(make: type[Batches]) -> None:
    batches = make()
    last = batches.steps_per_epoch - 1
    batches.batch(0, last, EVERY_ROW)
    for epoch, step in [(0, -1), (0, last + 1), (-1, 0)]:
        with pytest.raises(IndexError, match=f"epoch {epoch}, step {step}: an epoch has the steps 0 to {last}"):
            batches.batch(epoch, step, EVERY_ROW)


@example(2, 1, 2, 1, True)  # the shortest split of which anything fits
@given(st.integers(0, 200), st.integers(1, 20), st.integers(1, 40), st.integers(1, 30), st.booleans())
def test_an_error_names_what_fits(length_of_split: int, batch_size: int, length: int, stride: int, carry: bool) -> None:
    def make(batch_size: int, length: int, split_length: int = length_of_split) -> Batches:
        split = Split("test", 11, 11 + split_length)
        if carry:
            return streams(split, batch_size=batch_size, length=length)
        return windows(split, batch_size=batch_size, length=length, stride=stride)

    try:
        batches = make(batch_size, length)
    except CorpusError as error:
        message = str(error)
    else:  # what was accepted can be read to its end
        batches.batch(0, 0, EVERY_ROW)
        last = batches.batch(0, batches.steps_per_epoch - 1, EVERY_ROW)
        assert last.max() < 11 + length_of_split
        return
    assert message.startswith(f"the test split has {length_of_split} characters, and batch size {batch_size} with ")
    needed = int(re.findall(r"needs (\d+)", message)[0])
    make(batch_size, length, needed)
    with pytest.raises(CorpusError):
        make(batch_size, length, needed - 1)
    if fits := re.findall(r"largest batch size that fits is (\d+)", message):
        make(int(fits[0]), length)
        with pytest.raises(CorpusError):
            make(int(fits[0]) + 1, length)
    elif fits := re.findall(r"largest sequence length that fits is (\d+), with batch size 1", message):
        make(1, int(fits[0]))
        with pytest.raises(CorpusError):
            make(1, int(fits[0]) + 1)
    else:
        assert length_of_split < 2
        assert "give more text" in message


@pytest.mark.parametrize("name", ["batch_size", "length", "stride"])
@pytest.mark.parametrize("value", [0, -3])
def test_sizes_below_one_are_refused(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=rf"{name.replace('_', ' ')} is {value}: it must be at least 1"):
        windows(**{name: value})
    if name != "stride":
        with pytest.raises(ConfigError, match=f"is {value}: it must be at least 1"):
            streams(**{name: value})
