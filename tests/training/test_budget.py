"""The numbers of the rule of --minutes, as docs/training.md names them: what is chosen below and above each of them."""

import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
from accelerate import Accelerator

from charrnn.cli.train import parse
from charrnn.config import TrainConfig
from charrnn.text.batches import Split
from charrnn.training import budget
from charrnn.training.data import RunText
from charrnn.training.deadline import Deadline

V, E, H, T = 2, 96, 5, 7
GATES = {"gru": 3, "lstm": 4}
AS_IT_IS = ("--model.recurrence", "fused", "--mixed-precision", "no")
AMPLE_MINUTES = 2000
"""No run here is cut short by its time, however slow the machine is."""

TABLE = [
    ("gru", 1, 128, 0, 0),
    ("gru", 1, 256, 5, 0),
    ("lstm", 1, 256, 2, 10),
    ("gru", 1, 512, 5, 0),
    ("lstm", 1, 512, 2, 10),
    ("gru", 2, 512, 9, 0),
    ("lstm", 2, 512, 3, 10),
    ("gru", 2, 1024, 9, 0),
]
"""Cell, layers, units; characters for each parameter and passes over the text from which on it is worth its time."""


def parameters(cell: str, layers: int, hidden: int) -> int:
    sizes = [E, *[hidden] * layers]
    recurrences = sum(GATES[cell] * hidden * (before + hidden + 2) for before, hidden in pairwise(sizes))
    return V * E + recurrences + V * (hidden + 1)


# The table of models


@pytest.fixture
def picked(text_of: Callable[[str], RunText]) -> Callable[[float, float], tuple[str, int, int]]:
    """`picked(characters, time)`: the model, by steps of a model of one parameter that read a character each."""
    config = parse(["python-stdlib", "--batch.size", "1", "--batch.length", "1"])
    sizes = [config.changed(size.settings()) for size in budget.SIZES]
    text = text_of("ab" * 50)

    def of(characters: float, time: float) -> tuple[str, int, int]:
        model = sizes[budget.largest(sizes, replace(text, train=Split("train", 0, round(characters))), time)].model
        return str(model.cell), model.num_layers, model.hidden_size

    return of


@pytest.mark.parametrize(("cell", "layers", "hidden", "each", "passes"), TABLE)
def test_from_when_on_a_model_is_worth_its_time(
    picked: Callable[[float, float], tuple[str, int, int]], cell: str, layers: int, hidden: int, each: int, passes: int
) -> None:
    """In a time in which one of P parameters reads C P characters, 1/P of what one of a single parameter reads."""
    P = parameters(cell, layers, hidden)
    characters = each * P / 15 if passes else 1e13  # of which an LSTM has 15 passes then, and none has one
    if each:
        assert picked(characters, 1.001 * each * P * P) == (cell, layers, hidden)
        assert picked(characters, 0.999 * each * P * P) != (cell, layers, hidden)
    else:
        assert picked(characters, 1) == (cell, layers, hidden)
    if passes:  # of a text twice as long as that on which it is trained enough in so many passes
        characters = 2 * each * P / passes
        assert picked(characters, 1.001 * passes * characters * P) == (cell, layers, hidden)
        assert picked(characters, 0.999 * passes * characters * P) != (cell, layers, hidden)


def test_each_model_has_its_learning_rate() -> None:
    rates = (8e-3, 6e-3, 6e-3, 4e-3, 4e-3, 3e-3, 3e-3, 2e-3)
    assert [(size.cell, size.num_layers, size.hidden_size) for size in budget.SIZES] == [row[:3] for row in TABLE]
    assert tuple(size.learning_rate for size in budget.SIZES) == rates


# What follows from model and text


@pytest.fixture
def chosen(text_of: Callable[[str], RunText], accelerator: Accelerator) -> Callable[..., TrainConfig]:
    """`chosen(characters, flag, ...)`: the config for a training split of so many, where there is time for all."""

    def of(
        characters: int,
        *flags: object,
        cell: str = "gru",
        minutes: float = AMPLE_MINUTES,
        scored: int = 100,
        preset: str = "tiny-shakespeare",
    ) -> TrainConfig:
        words = [preset, "--minutes", minutes, "--model.cell", cell, "--model.num-layers", 1]
        words += ["--model.hidden-size", H, "--batch.length", T, *AS_IT_IS, *flags]
        config = parse([*map(str, words)])
        others = {name: Split(name, 0, scored) for name in ("validation", "test")}
        text = replace(text_of("ab" * characters), train=Split("train", 0, characters), **others)
        return budget.chosen_collective(config, text, accelerator, Deadline(minutes, began=time.monotonic()))

    return of


@pytest.mark.parametrize(("chances", "below", "above"), [(2, 0.0, 0.2), (10, 0.2, 0.4), (14, 0.4, 0.5), (40, 0.5, 0.5)])
@pytest.mark.parametrize("cell", GATES)
def test_dropout_goes_by_passes_times_parameters_by_characters(
    chosen: Callable[..., TrainConfig], chances: int, below: float, above: float, cell: str
) -> None:
    passes = 200
    characters = passes * parameters(cell, 1, H) // chances
    for more, dropout in ((1.01, below), (0.99, above)):
        config = chosen(round(more * characters), "--epochs", passes, cell=cell)
        assert config.model.dropout == dropout, more


@pytest.mark.parametrize(("characters", "passes"), [(1.5, 16), (1.64, 16), (1.66, 17), (3, 30), (9.94, 99), (11, 100)])
def test_passes_are_ten_times_characters_by_parameters(
    chosen: Callable[..., TrainConfig], characters: float, passes: int
) -> None:
    """characters: for each parameter."""
    assert chosen(round(characters * parameters("gru", 1, H))).epochs == passes


@pytest.mark.parametrize(
    ("characters", "rows"),
    [(2000, 8), (10**6, 16), (3 * 10**6, 24), (10**7, 48), (16 * 10**6, 64), (10**9, 64)],
)
def test_the_batch_grows_with_the_root_of_the_text(
    chosen: Callable[..., TrainConfig], characters: int, rows: int
) -> None:
    assert chosen(characters).batch.size == rows


@pytest.mark.parametrize(
    ("minutes", "scored", "evaluations"), [(150, 100, 20), (AMPLE_MINUTES, 100, AMPLE_MINUTES / 10), (150, 10**15, 6)]
)
def test_so_many_evaluations_or_what_they_may_take(
    chosen: Callable[..., TrainConfig], minutes: float, scored: int, evaluations: float
) -> None:
    """Of a split whose scoring would take longer than the run, what takes a hundredth: six times are 6 %."""
    passes, characters = 500, 8 * T * 100
    config = chosen(characters, "--epochs", passes, minutes=minutes, scored=scored)
    steps = passes * characters / (8 * T)
    assert steps / config.evaluate_every == pytest.approx(evaluations, rel=0.01)
    assert config.patience == 6


def test_the_test_split_may_take_three_times_as_long(chosen: Callable[..., TrainConfig]) -> None:
    """In one second that is left, a hundredth of it for the validation split."""
    text = chosen(20_000, minutes=7 / 60, scored=10**15, preset="python-stdlib").text
    assert text.test_fraction == pytest.approx(3 * text.validation_fraction, abs=3 / 40_000), "to whole characters"
