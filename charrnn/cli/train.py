"""charrnn-train: train a model on a preset's text or on yours. `train.py` at the top of the repository is the same."""

import difflib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.common import exit_status
from charrnn.cli.flags import parse_flags
from charrnn.errors import ConfigError

if TYPE_CHECKING:
    from charrnn.training.config import TrainConfig

__all__ = ["main", "parse"]

# Read by the libraries when they are imported, which is why it stands here.
os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # offline means offline, crash reports included
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

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
        print(_usage())
        return 0
    config = parse(arguments)
    from charrnn.training.run import train

    return train(config)


def parse(arguments: Sequence[str]) -> "TrainConfig":
    """The config that `arguments` ask for. Raises ConfigError for what is not a preset, a text or a flag."""
    from charrnn.training.presets import PRESETS

    words = list(arguments)
    named: list[str] = []
    while words and (words[0] == "-" or not words[0].startswith("-")):
        named.append(words.pop(0))
    if not named:
        raise ConfigError(f"{words[0]!r} comes before a preset or a text: begin with one of {', '.join(PRESETS)}")
    if named[0] in PRESETS:
        config, corpus = PRESETS[named[0]](), tuple(named[1:])
    else:
        _check_texts(named, PRESETS)
        config, corpus = PRESETS["text"](), tuple(named)
    if corpus:
        config = replace(config, text=replace(config.text, corpus=corpus))
    config = parse_flags(
        type(config),
        words,
        prog=f"charrnn-train {config.preset}",
        description="Train a character-level RNN. The defaults shown are this preset's.",
        default=config,
    )
    if not config.text.corpus:
        raise ConfigError("the preset text has no text of its own: name a file, as in `charrnn-train novel.txt`")
    return config


def _check_texts(words: list[str], presets: Iterable[str]) -> None:
    """Raise ConfigError where the first word is neither a preset nor a text that could be there."""
    word = words[0]
    if word == "-" or re.match(r"https?://|hub:", word) or any(c in word for c in "*?[") or Path(word).exists():
        return
    nearest = difflib.get_close_matches(word, [*presets, *_neighbours(word)], n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"the presets are {', '.join(presets)}"
    raise ConfigError(f"{word!r} is neither a preset nor a file: {hint}")


def _neighbours(word: str) -> list[str]:
    directory = Path(word).parent
    return [str(directory / path.name) for path in directory.iterdir()] if directory.is_dir() else []


def _usage() -> str:
    from charrnn.training.presets import PRESETS

    listed = "\n".join(f"  {name:24}{(make.__doc__ or '').strip()}" for name, make in PRESETS.items())
    return _USAGE.format(presets=listed)


if __name__ == "__main__":
    main()
