"""Settings as keyword arguments: by the names that they have on the command line, and in config.json."""

import difflib
import operator
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, get_args, get_origin, get_type_hints

import tyro

from charrnn.config import TrainConfig, flat
from charrnn.errors import ConfigError
from charrnn.presets import preset_of

__all__ = ["TrainSettings", "config_of"]

_LONGEST_NAME = 4096
"""What a system takes for a path; a text itself was given."""


class TrainSettings(TypedDict, total=False):
    """The keyword arguments of `charrnn.train`: the settings of TrainConfig; those of a group in a dict."""

    run_dir: str | os.PathLike[str]
    resume: str | os.PathLike[str]
    init_from: str | os.PathLike[str]
    minutes: float
    epochs: int
    max_steps: int
    evaluate_every: int
    checkpoint_every: int
    checkpoint_minutes: float
    patience: int
    keep_checkpoints: int
    seed: int
    mixed_precision: Literal["no", "auto", "bf16", "fp16"]
    threads: int
    process_timeout: float
    stop_signal: str
    text: Mapping[str, Any]
    batch: Mapping[str, Any]
    model: Mapping[str, Any]
    optimiser: Mapping[str, Any]
    log: Mapping[str, Any]


def config_of(texts: Sequence[str | os.PathLike[str]], settings: Mapping[str, Any]) -> TrainConfig:
    """The config that `texts` (a preset, texts, or both) and `settings` ask for.

    A setting of a group is given by the group's name, as `model={"cell": "lstm"}`, or as `"model.cell"`.
    Raises ConfigError for what is not a preset, a text, a setting, or a value of it.
    """
    if not texts:
        raise ConfigError("there is no text: name a file, as in charrnn.train('novel.txt'), or a preset")
    values = dict(_checked(name, value) for name, value in flat(settings).items())
    config = preset_of([_word(text) for text in texts]).changed(values)
    if not config.text.corpus:
        raise ConfigError(f"the preset {config.preset} has no text of its own: name a file beside it, or instead")
    return config.changed({"given": tuple(sorted(values))})


def _word(text: object) -> str:
    word = str(_checked_value("the text", text, str))
    if "\n" in word or len(word) > _LONGEST_NAME:
        raise ConfigError(f"the text is {word[:20]!r}...: give the name of a file that has it")
    return word


def _checked(name: str, value: Any) -> tuple[str, Any]:
    of_group = [known.partition(".")[2] for known in _kinds() if known.startswith(f"{name}.")]
    if of_group:
        example = f"{name}={{{of_group[0]!r}: ...}}"
        raise ConfigError(f"{name} is {value!r}: it must be a dict of its settings, such as {example}")
    if name not in _kinds():
        by_last = {known.rpartition(".")[2]: known for known in _kinds()}
        near = difflib.get_close_matches(name.rpartition(".")[2], by_last, n=1)
        group, _, last = by_last[near[0]].rpartition(".") if near else ("", "", "")
        meant = f"{group}={{{last!r}: {value!r}}}" if group else f"{last}={value!r}"
        hint = f"did you mean {meant}?" if near else "`charrnn-train text --help` lists them"
        raise ConfigError(f"{name} is no setting: {hint}")
    return name, _checked_value(name, value, _kinds()[name])


def _checked_value(name: str, value: Any, kind: Any) -> Any:
    """`value` as one of `kind`. Raises ConfigError where it is none."""
    choices = get_args(kind) if get_origin(kind) is Literal else ()
    wanted = ""
    if choices:
        wanted = "" if value in choices else f"one of {', '.join(map(repr, choices))}"
    elif kind is str:
        value = os.fspath(value) if isinstance(value, os.PathLike) else value
        wanted = "" if isinstance(value, str) else "a string"
    elif get_origin(kind) is tuple:
        value = [value] if isinstance(value, str | os.PathLike) else value
        if not isinstance(value, list | tuple):
            wanted = "a list of strings"
        else:
            value = tuple(_checked_value(name, each, str) for each in value)
    else:
        value, wanted = _number(value, kind)
    if wanted:
        raise ConfigError(f"{name} is {value!r}: it must be {wanted}")
    return value


def _number(value: Any, kind: type) -> tuple[Any, str]:
    """`value` as an int or a float, and what it must be where it is none; a number of numpy is one."""
    try:
        if isinstance(value, bool):
            raise TypeError
        return (operator.index(value) if kind is int else float(operator.add(value, 0))), ""
    except (TypeError, ValueError):
        return value, "a whole number" if kind is int else "a number"


@cache
def _kinds() -> dict[str, Any]:
    """The type of each setting that may be given, by its name."""
    return dict(_kinds_of(TrainConfig, ""))


def _kinds_of(config: type, group: str) -> Iterator[tuple[str, Any]]:
    for name, kind in get_type_hints(config, include_extras=True).items():
        if get_origin(kind) is Annotated and tyro.conf.Suppress in get_args(kind):
            continue  # charrnn's own note
        if isinstance(kind, type) and is_dataclass(kind):
            yield from _kinds_of(kind, f"{name}.")
        else:
            yield f"{group}{name}", kind
