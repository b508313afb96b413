"""The run directory: everything that is needed to resume, export or cite a run, under names that never change."""

import json
import platform
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import charrnn
from charrnn.errors import CharRNNError, RunError
from charrnn.files import write_atomically
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.config import TrainConfig

__all__ = ["RunDirectory"]

MAY_CHANGE = frozenset(
    {"run_dir", "resume", "epochs", "max_steps", "evaluate_every", "keep_checkpoints", "threads", "log"}
)
"""Settings that a resumed run may have otherwise than before; `text.corpus` may too, if the text is the same."""


class RunDirectory:
    """Paths inside one run's directory, and the claim on it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.vocabulary = path / "vocabulary.json"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples.txt"
        self.plot = path / "loss.png"
        self.checkpoints = path / "checkpoints"
        self.model = path / "model.onnx"

    def check(self, config: TrainConfig) -> None:
        """Raise RunError unless a new run may be made here, or the run that is here may be resumed."""
        if config.resume:
            self._check_same_run(config)
        elif self.config.exists():
            raise RunError(f"{self.path}: holds a run already: add --resume to continue it, or name another --run-dir")
        elif self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            raise RunError(f"{self.path}: exists and is not a run: name another --run-dir")

    def create(self, config: TrainConfig, text: dict[str, Any], vocabulary: Vocabulary, normaliser: Normaliser) -> None:
        """Write config.json (settings, text, versions) and vocabulary.json (characters, normaliser).

        Raises RunError where the directory cannot be written.
        """
        tools = {name: version(name) for name in ("torch", "accelerate", "datasets", "numpy")}
        description = {
            "charrnn": charrnn.__version__,
            "config": asdict(config),
            "text": text,
            "environment": {"python": platform.python_version(), "platform": platform.platform(), **tools},
        }
        both = {"vocabulary": vocabulary.to_dict(), "normaliser": normaliser.to_list()}
        write_atomically(self.vocabulary, json.dumps(both, ensure_ascii=False, indent=1))
        write_atomically(self.config, json.dumps(description, ensure_ascii=False, indent=1))

    def read_description(self) -> dict[str, Any]:
        """What `create` put into config.json. Raises RunError where it is not there, or not that."""
        try:
            description: dict[str, Any] = json.loads(self.config.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RunError(f"{self.path}: holds no run (no config.json): start one without --resume") from error
        except (OSError, ValueError) as error:
            raise RunError(f"{self.config}: cannot be read ({error}): restore it from a copy") from error
        if not isinstance(description, dict) or not description.keys() >= {"charrnn", "config", "text"}:
            raise RunError(f"{self.config}: is not a charrnn run's: restore it from a copy, or name another --run-dir")
        return description

    def read_vocabulary(self) -> tuple[Vocabulary, Normaliser]:
        """The vocabulary and the normaliser of the run."""
        try:
            both = json.loads(self.vocabulary.read_text(encoding="utf-8"))
            return Vocabulary.from_dict(both["vocabulary"]), Normaliser.from_list(both["normaliser"])
        except (OSError, ValueError, KeyError, TypeError, CharRNNError) as error:
            raise RunError(f"{self.vocabulary}: cannot be read ({error}): restore it from a copy") from error

    def _check_same_run(self, config: TrainConfig) -> None:
        before = _flat(self.read_description()["config"])
        now = _flat(json.loads(json.dumps(asdict(config))))
        ignored = MAY_CHANGE | {"text.corpus", "preset"}
        names = [
            name
            for name in sorted(before.keys() | now.keys())
            if name not in ignored and name.split(".")[0] not in ignored and before.get(name) != now.get(name)
        ]
        if names:
            differences = ", ".join(f"{name} {before.get(name)!r} -> {now.get(name)!r}" for name in names)
            raise RunError(
                f"{self.path}: holds another run ({differences}): give the same settings, or another --run-dir"
            )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """{'a': {'b': 1}} -> {'a.b': 1}."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat
