"""Presets: each a function that returns a whole config. Flags, or keyword arguments, override single settings."""

import difflib
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from charrnn.config import BatchConfig, LogConfig, OptimiserConfig, TrainConfig
from charrnn.errors import ConfigError
from charrnn.model import Architecture
from charrnn.text.settings import TextConfig

__all__ = ["PRESETS", "may_be_there", "preset_of", "text"]

_EVERYTHING = (
    *("epochs", "evaluate_every", "patience", "optimiser.warmup_steps", "optimiser.learning_rate"),
    *("text.validation_fraction", "text.test_fraction", "batch.size"),
    *("model.cell", "model.num_layers", "model.hidden_size", "model.dropout"),
)
"""What --minutes may choose of a run on any text."""


def text() -> TrainConfig:
    """Any text; with --minutes all is chosen by its length, the time and the speed here."""
    return TrainConfig(
        preset="text",
        batch=BatchConfig(length=128),
        model=Architecture(cell="gru", hidden_size=512, embedding_size=96, dropout=0.2),
        mixed_precision="auto",
        left_open=_EVERYTHING,
    )


def alphabet() -> TrainConfig:
    """The notebook's alphabet, a hundred times over: learnt by heart, at a temperature of 2 as well."""
    return TrainConfig(
        preset="alphabet",
        text=TextConfig(corpus=("alphabet",)),
        batch=BatchConfig(size=8, length=50),
        model=Architecture(hidden_size=30, embedding_size=30),
        optimiser=OptimiserConfig(learning_rate=2e-2, schedule="constant", warmup_steps=10, weight_decay=0.0),
        log=LogConfig(every=10, sample_length=60),
        epochs=400,
        evaluate_every=500,
        threads=1,  # products this small gain nothing from a second, which is slow where the cores are busy
    )


def alphabet_notebook() -> TrainConfig:
    """The notebook's run on the alphabet, learning rate 200 included: a curiosity."""
    return TrainConfig(
        preset="alphabet-notebook",
        text=TextConfig(corpus=("alphabet",), validation_fraction=0.0, test_fraction=0.1),
        batch=BatchConfig(mode="windows", size=64, length=1000, stride=10),
        model=Architecture(hidden_size=30, embedding_size=30, initialisation="notebook"),
        optimiser=_notebook_adam(learning_rate=200.0),
        log=LogConfig(every=1, sample_length=60),
        epochs=40,
        evaluate_every=0,
    )


def war_and_peace() -> TrainConfig:
    """War and Peace with the notebook's normaliser and model, trained the better way; the last tenth is the test."""
    return TrainConfig(
        preset="war-and-peace",
        text=TextConfig(
            corpus=("war-and-peace",), normaliser=("notebook",), validation_fraction=0.02, test_fraction=0.1
        ),
        mixed_precision="auto",
        epochs=14,
        evaluate_every=0,
    )


def war_and_peace_lstm() -> TrainConfig:
    """The same with gates: what an LSTM of the same width is worth."""
    config = war_and_peace()
    return replace(config, preset="war-and-peace-lstm", model=replace(config.model, cell="lstm"))


def tiny_shakespeare() -> TrainConfig:
    """Tiny Shakespeare, whose last tenth is the test, as in nanoGPT; give it --minutes."""
    config = text()
    return replace(
        config,
        preset="tiny-shakespeare",
        # The last tenth begins in the middle of a play, whose beginning a validation split before it would keep back.
        text=TextConfig(
            corpus=("tiny-shakespeare",), validation_fraction=0.02, test_fraction=0.1, validation_at="start"
        ),
        left_open=tuple(name for name in config.left_open if not name.startswith("text.")),
    )


def war_and_peace_notebook() -> TrainConfig:
    """The notebook's run on War and Peace: its windows, its initialisation, plain Adam at 1e-3."""
    return TrainConfig(
        preset="war-and-peace-notebook",
        text=TextConfig(
            corpus=("war-and-peace",), normaliser=("notebook",), validation_fraction=0.0, test_fraction=0.1
        ),
        batch=BatchConfig(mode="windows", size=64, length=100, stride=10),
        model=Architecture(hidden_size=500, embedding_size=30, initialisation="notebook"),
        optimiser=_notebook_adam(learning_rate=1e-3),
        epochs=10,
        evaluate_every=0,
    )


def python_stdlib() -> TrainConfig:
    """The Python standard library's own source: real text that is on every machine."""
    return TrainConfig(
        preset="python-stdlib",
        text=TextConfig(corpus=("python-stdlib",), normaliser=("tabs",), validation_fraction=0.01, test_fraction=0.01),
        batch=BatchConfig(length=128),
        model=Architecture(cell="gru", hidden_size=384, embedding_size=96),
        mixed_precision="auto",
        epochs=1,
        log=LogConfig(sample_prompt="def ", sample_length=300),
        left_open=_EVERYTHING,
    )


def _notebook_adam(learning_rate: float) -> OptimiserConfig:
    return OptimiserConfig(
        learning_rate=learning_rate, schedule="constant", warmup_steps=0, weight_decay=0.0, beta2=0.999, clip_norm=0.0
    )


PRESETS: dict[str, Callable[[], TrainConfig]] = {
    "text": text,
    "alphabet": alphabet,
    "alphabet-notebook": alphabet_notebook,
    "war-and-peace": war_and_peace,
    "war-and-peace-lstm": war_and_peace_lstm,
    "war-and-peace-notebook": war_and_peace_notebook,
    "tiny-shakespeare": tiny_shakespeare,
    "python-stdlib": python_stdlib,
}


def preset_of(words: Sequence[str]) -> TrainConfig:
    """The preset that the first of `words` names, on the texts that the others name; or `text`, where all are texts.

    Raises ConfigError for a first word that is neither.
    """
    if words[0] in PRESETS:
        config, corpus = PRESETS[words[0]](), tuple(words[1:])
    else:
        _check_text(words[0])
        config, corpus = text(), tuple(words)
    return replace(config, text=replace(config.text, corpus=corpus)) if corpus else config


def _check_text(word: str) -> None:
    """Raise ConfigError where `word` is no text that could be there."""
    if word == "-" or re.match(r"https?://|hub:", word) or any(c in word for c in "*?[") or may_be_there(word):
        return
    nearest = difflib.get_close_matches(word, [*PRESETS, *_neighbours(word)], n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the presets are {', '.join(PRESETS)}"
    raise ConfigError(f"{word!r} is neither a preset nor a file: {hint}")


def may_be_there(word: str) -> bool:
    """Whether there is a file or directory `word`, or the system does not say: who reads it will tell why."""
    try:
        return Path(word).exists()
    except OSError:
        return True


def _neighbours(word: str) -> list[str]:
    directory = Path(word).parent
    with suppress(OSError):  # no directory, or not to be read: then there is nothing to suggest
        return [str(directory / path.name) for path in directory.iterdir()]
    return []
