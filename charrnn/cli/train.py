"""charrnn-train: train a model on a preset's text or on yours. `train.py` at the top of the repository is the same."""

import gc
import itertools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from charrnn.cli.common import exit_status
from charrnn.cli.flags import parse_flags
from charrnn.console import tell
from charrnn.errors import ConfigError
from charrnn.garbage import no_garbage_collection

if TYPE_CHECKING:
    from charrnn.config import TrainConfig

__all__ = ["main", "parse"]

_BEGAN = time.monotonic()
"""torch is not imported yet: that, too, is of the minutes that a user waits."""

_USAGE = """\
usage: charrnn-train PRESET [flags]
       charrnn-train TEXT... [flags]      (files, directories, globs, -, http(s) addresses, hub:NAME; preset `text`)

Trains a hand-written character-level RNN; leaves runs/NAME/ with model.onnx, metrics, samples and a plot.
On several devices:  accelerate launch --config_file accelerate_config.yaml train.py PRESET [flags]

presets:
{presets}

`charrnn-train PRESET --help` lists every flag with the preset's own values.
"""


def main() -> None:
    """Entry point of `charrnn-train` and of `accelerate launch train.py`."""
    sys.exit(exit_status("charrnn-train", lambda: run(sys.argv[1:])))


def run(arguments: Sequence[str]) -> int:
    """Train as `arguments` say; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        tell(_usage(), sys.stdout)
        return 0
    with no_garbage_collection():
        config = parse(arguments)
        from charrnn.presets import PRESETS, may_be_there
        from charrnn.training.run import train

        gc.freeze()  # what is there now stays: nor is it looked through later
    if config.text.corpus == PRESETS[config.preset]().text.corpus and may_be_there(config.preset):
        note = f"{config.preset} is the preset; what is called so here is ./{config.preset}"
        tell(f"charrnn-train: {note}", sys.stderr if os.environ.get("RANK", "0") == "0" else None)
    signal = train(config, began=_BEGAN).signal
    return 128 + signal if signal else 0


def parse(arguments: Sequence[str]) -> "TrainConfig":
    """The config that `arguments` ask for. Raises ConfigError for what is not a preset, a text or a flag."""
    from charrnn.presets import PRESETS, may_be_there, preset_of

    named = list(itertools.takewhile(lambda word: word == "-" or not word.startswith("-"), arguments))
    flags = list(arguments[len(named) :])
    if not named:
        raise ConfigError(
            f"{flags[0]!r} comes before a preset or a text: begin with one of {', '.join(PRESETS)}, or with a text, "
            f"as in `charrnn-train novel.txt {flags[0]}`"
        )
    config = _parse_flags(preset_of(named), flags)
    words = (flag[2:].partition("=")[0].replace("-", "_") for flag in flags if flag.startswith("--"))
    config = replace(config, given=tuple(sorted(set(words))))
    if not config.text.corpus:
        raise ConfigError(
            "the preset text has no text of its own: name a file, as in `charrnn-train novel.txt`"
            + ("; what is called text here is ./text" if may_be_there("text") else "")
        )
    return config


def _parse_flags(config: "TrainConfig", flags: list[str]) -> "TrainConfig":
    from charrnn.presets import may_be_there
    from charrnn.text.normaliser import Normaliser

    try:
        config = parse_flags(
            type(config),
            flags,
            prog=f"charrnn-train {config.preset}",
            description="Train a character-level RNN. The defaults shown are this preset's.",
            default=config,
        )
    except ConfigError as error:
        left_over = str(error).partition("Unrecognized options: ")[2]
        for word in flags:
            if word and not word.startswith("-") and left_over.startswith(word):
                raise _after_flags(word) from None
        raise
    for word in config.text.normaliser:  # a flag that takes the texts after it for its own
        try:
            Normaliser.named(word)
        except ConfigError:
            if may_be_there(word):
                raise _after_flags(word) from None
            raise
    return config


def _after_flags(word: str) -> ConfigError:
    return ConfigError(f"{word!r} comes after a flag: texts come first, as in `charrnn-train novel.txt --epochs 3`")


def _usage() -> str:
    from charrnn.presets import PRESETS

    listed = "\n".join(f"  {name:24}{(make.__doc__ or '').strip()}" for name, make in PRESETS.items())
    return _USAGE.format(presets=listed)


if __name__ == "__main__":
    main()
