"""What of a run's settings may leave this machine: how the model was trained, and nothing about where, or by whom."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["public_corpus", "public_origin", "public_settings", "public_text"]

_SETTINGS = (
    *("preset", "minutes", "epochs", "max_steps", "evaluate_every", "patience", "seed", "mixed_precision", "behaviour"),
    *("batch", "model", "optimiser"),
)
_TEXT_SETTINGS = (
    *("encoding", "encoding_errors", "normaliser", "min_count", "validation_fraction", "validation_at"),
    "test_fraction",
)
_TEXT = ("sha256", "characters", "vocabulary_size", "splits")
_DATA_SET = re.compile(r"hub:[\w-]+/[\w.-]+(:[\w.-]+)?", re.ASCII)
_UNNAMED = "a text"


def public_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's settings, as config.json has them, those that the training is repeated with; no place, no name."""
    text = {name: config["text"][name] for name in _TEXT_SETTINGS if name in config.get("text", {})}
    return {name: config[name] for name in _SETTINGS if name in config} | {"text": text}


def public_text(description: Mapping[str, Any]) -> dict[str, Any]:
    """What the text was: its checksum, sizes and splits, and its name without the place where it lay."""
    text = description["text"]
    return {"corpus": public_corpus(description["config"])} | {name: text[name] for name in _TEXT if name in text}


def public_corpus(config: Mapping[str, Any]) -> str:
    """The corpus by its last name: `/home/somebody/novel.txt` is novel.txt."""
    words = config.get("text", {}).get("corpus") or []
    return ", ".join(_last_name(str(word)) for word in words) or _UNNAMED


def public_origin(config: Mapping[str, Any]) -> str:
    """The model that the run was started from: OWNER/NAME where that is one of the Hub, else 'another model' or ''."""
    source = str(config.get("init_from") or "")
    origin = re.fullmatch(r"hf:/+([\w.-]+/[\w.-]+)(@.*)?", source, re.ASCII)
    return origin[1] if origin else "another model" if source else ""


def _last_name(word: str) -> str:
    if word == "-":
        return "standard input"
    if _DATA_SET.fullmatch(word):
        return word
    name = re.split(r"[/\\]", re.sub(r"[?#].*", "", word).rstrip("/\\"))[-1].removeprefix("hub:")
    return name if name.strip(".~") and name != _home_name() and not name.startswith("~") else _UNNAMED


def _home_name() -> str:
    try:
        return Path.home().name
    except RuntimeError:  # there is none
        return ""
