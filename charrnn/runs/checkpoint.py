"""Checkpoints: directories of safetensors and JSON that are whole or do not exist. Nothing is ever unpickled.

`checkpoints/step-00001000/` holds `model.safetensors`, `optimiser.safetensors`, `state.safetensors`, `progress.json`,
`config.json` and, written last, `manifest.json` with every file's size and SHA-256. It is made under a temporary name,
flushed to the disk and renamed; readers look at complete ones only. Where the same step is written again, the one that
was there is `step-00001000.replaced` until the new one has its name: at every moment one of them is whole.
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charrnn.errors import RunError, first_line
from charrnn.files import sync

__all__ = [
    "FILES",
    "Checkpoint",
    "Progress",
    "best_first",
    "first_whole",
    "forget_after",
    "load_optimiser_tensors",
    "newest_first",
    "optimiser_tensors",
    "prune",
    "read_checkpoint",
    "read_files",
    "write_checkpoint",
]

FORMAT_VERSION = 1
_TENSOR_FILES = ("model", "optimiser", "state")
FILES = (*(f"{name}.safetensors" for name in _TENSOR_FILES), "progress.json", "config.json")
"""The files of a checkpoint, beside its manifest."""
_REPLACED = ".replaced"
_NAME = re.compile(rf"step-[0-9]+({re.escape(_REPLACED)})*")


class NewerFormatError(RunError):
    """A later charrnn wrote this checkpoint. It is not passed over: what comes after it would be deleted."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where in training a checkpoint stands."""

    step: int
    """Optimiser steps done."""
    epoch: int
    """Whole passes over the training batches done."""
    characters_seen: int
    """Characters trained on so far, over all processes."""
    evaluated: bool = False
    """Whether the evaluation that is due at this step, if one is, has been made and recorded."""
    validation_loss_nats: float | None = None
    """Validation loss at this step, in nats per character; None where it was not measured."""
    gradient_scaler: dict[str, float] | None = None
    """State of the loss scaling of fp16 training; None otherwise."""
    course: dict[str, float] | None = None
    """The fields of the run's Course (charrnn/training/schedule.py); None where its settings say them."""
    seconds: float = 0.0
    """That the run has taken so far, those between two processes left out."""

    def to_json(self) -> bytes:
        """As JSON. What only a run with --minutes has is left out of others': earlier releases can read them."""
        fields = {name: value for name, value in asdict(self).items() if value or name not in ("course", "seconds")}
        return json.dumps(fields, indent=1).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Read what `to_json` wrote. Raises ValueError or TypeError for anything else."""
        progress = cls(**json.loads(data))
        counts = (progress.step, progress.epoch, progress.characters_seen)
        loss, seconds = progress.validation_loss_nats, progress.seconds
        if not (
            all(type(count) is int and 0 <= count < 2**63 for count in counts)
            and type(progress.evaluated) is bool
            and (loss is None or type(loss) is float)
            and (type(seconds) is float and 0 <= seconds < float("inf"))
            and all(
                numbers is None or (type(numbers) is dict and {*map(type, numbers.values())} <= {int, float})
                for numbers in (progress.gradient_scaler, progress.course)
            )
        ):
            raise ValueError("progress.json holds values of other types")
        return progress


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds: tensors by name, the progress, and the settings of the run."""

    model: dict[str, Tensor]
    """Parameters, by their names in CharRNN."""
    optimiser: dict[str, Tensor]
    """AdamW's `exp_avg`, `exp_avg_sq` and `step` of each parameter, as 'exp_avg.W_h'."""
    state: dict[str, Tensor]
    """What is carried from step to step: 'state' [L, B, H] of every row of the global batch, absent where nothing is
    carried; 'training_sums' float64 [processes, 3], what the next record of the training loss has so far."""
    progress: Progress
    config: dict[str, Any]
    """The whole resolved TrainConfig, as JSON has it."""

    def to_files(self) -> dict[str, bytes]:
        """The contents of the files, by name; all but the manifest."""
        files = {f"{name}.safetensors": save(_portable(getattr(self, name))) for name in _TENSOR_FILES}
        files["progress.json"] = self.progress.to_json()
        files["config.json"] = json.dumps(self.config, indent=1).encode()
        return files

    @classmethod
    def from_files(cls, path: Path, files: dict[str, bytes]) -> Self:
        """Read what `to_files` made; `path` is for the message. Raises RunError where it is not a checkpoint's."""
        try:
            tensors = {name: load(files[f"{name}.safetensors"]) for name in _TENSOR_FILES}
            progress, config = Progress.from_json(files["progress.json"]), json.loads(files["config.json"])
            if not isinstance(config, dict):
                raise ValueError("config.json is no object")
        except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
            raise _broken(path, error) from error
        return cls(**tensors, progress=progress, config=config)


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` under `directory` and return its path. Raises RunError where it cannot, leaving nothing."""
    final = directory / f"step-{checkpoint.progress.step:08d}"
    temporary = directory / f".{final.name}.{secrets.token_hex(8)}"  # pids come again, in containers always
    files = checkpoint.to_files()
    manifest = {
        "format_version": FORMAT_VERSION,
        "files": {name: {"bytes": len(data), "sha256": _sha256(data)} for name, data in files.items()},
    }
    try:
        temporary.mkdir(parents=True)
        for name, data in [*files.items(), ("manifest.json", json.dumps(manifest, indent=1).encode())]:
            with (temporary / name).open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync(temporary)
        _put(temporary, final)
    except OSError as error:
        raise RunError(
            f"{final}: checkpoint not written ({error.strerror}): "
            "free space or make it writable, then start the same command again"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def _put(temporary: Path, final: Path) -> None:
    """Give a checkpoint its name. Where another has it, the same step after a resume, that one goes when this is in."""
    if _is_whole(final):
        aside = final.with_name(final.name + _REPLACED)
        while aside.exists():  # a process was killed just here
            aside = aside.with_name(aside.name + _REPLACED)
        final.rename(aside)
    else:
        _delete(final)  # what is left of one that was being deleted
    temporary.rename(final)
    sync(final.parent)
    for path in final.parent.glob(f"{final.name}{_REPLACED}*"):
        _delete(path)


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint at `path`, every file checked against the manifest. Raises RunError where one fails."""
    return Checkpoint.from_files(path, read_files(path))


def read_files(path: Path) -> dict[str, bytes]:
    """The contents of a checkpoint's files, by name, each checked against the manifest. Raises RunError."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        version = manifest["format_version"]
        if type(version) is int and version > FORMAT_VERSION:
            raise NewerFormatError(
                f"{path}: is of format {version}, and this charrnn reads {FORMAT_VERSION}: "
                "install a newer charrnn, or delete this checkpoint to go on from the one before it"
            )
        if version != FORMAT_VERSION:
            raise ValueError(f"format {version!r}")
        # The names are ours, never the manifest's: nothing outside the directory is ever opened.
        expected = {name: (manifest["files"][name]["bytes"], manifest["files"][name]["sha256"]) for name in FILES}
        sizes = {name: (path / name).stat().st_size for name in FILES}
        for name, (size, _) in expected.items():
            if sizes[name] != size:
                raise RunError(
                    f"{path / name}: has {sizes[name]} bytes, not the {size!r} of its manifest: use another checkpoint"
                )
        files = {name: (path / name).read_bytes() for name in FILES}
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _broken(path, error) from error
    for name, data in files.items():
        if _sha256(data) != expected[name][1]:
            raise RunError(f"{path / name}: does not match its checksum: use another checkpoint")
    return files


def newest_first(directory: Path) -> list[Path]:
    """The complete checkpoints in `directory`."""
    return sorted(filter(_is_whole, _named(directory)), key=_age)


def best_first(directory: Path) -> list[Path]:
    """The complete checkpoints in `directory` by validation loss; those that have none come last, newest first."""
    return sorted(newest_first(directory), key=_loss)


def first_whole(paths: Iterable[Path], say: Callable[[str], None]) -> Checkpoint | None:
    """The first of `paths` that can be read; each that cannot is told to `say`.

    Returns None where there are no paths. Raises RunError where there are, and none can be read, and NewerFormatError
    at one that a newer charrnn wrote.
    """
    problem = None
    for path in paths:
        try:
            return read_checkpoint(path)
        except NewerFormatError:
            raise
        except RunError as error:
            problem = error
            say(f"{error} (it is passed over)")
    if problem is not None:
        raise RunError(f"{problem}, but there is no other: restore one from a copy, or start another run")
    return None


def prune(directory: Path, keep: int) -> None:
    """Delete all checkpoints but the best and the newest `keep`, and what a killed process left unfinished.

    Raises RunError where that cannot be done.
    """
    kept = set(newest_first(directory)[:keep]) | set(best_first(directory)[:1])
    with _deleting(directory):
        for path in {*_named(directory), *directory.glob(".step-*")} - kept:
            _delete(path)


def forget_after(directory: Path, step: int) -> None:
    """Delete the checkpoints after `step`: the run goes on from there. Raises RunError where that cannot be done."""
    with _deleting(directory):
        for path in _named(directory):
            if _step(path) > step:
                _delete(path)


@contextmanager
def _deleting(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            f"{directory}: an old checkpoint cannot be deleted ({error.strerror}): "
            "make it writable, then start the same command again"
        ) from error


def _delete(path: Path) -> None:
    """Delete a checkpoint. Its manifest goes first: whatever happens then, nobody takes the rest for a whole one."""
    (path / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _named(directory: Path) -> list[Path]:
    """What has a checkpoint's name, whole or not; what a user calls step-300-good is not ours to delete."""
    return [path for path in directory.glob("step-*") if _NAME.fullmatch(path.name)]


def _is_whole(path: Path) -> bool:
    """Whether it has a manifest: that is written last, and the directory takes its name after that."""
    return (path / "manifest.json").is_file()


def _step(path: Path) -> int:
    return int(path.name.split("-")[1].split(".")[0])


def _age(path: Path) -> tuple[int, bool, int]:
    """Less, the newer it is: the later step; of one step, the one that has the name, then the last that had it."""
    return -_step(path), path.name.endswith(_REPLACED), -len(path.name)


def _loss(path: Path) -> float:
    """The validation loss. One that cannot be read has none: who wants to use it will be told."""
    try:
        loss = Progress.from_json((path / "progress.json").read_bytes()).validation_loss_nats
    except (OSError, ValueError, TypeError, RecursionError):
        loss = None
    return float("inf") if loss is None else loss


def _broken(path: Path, error: Exception) -> RunError:
    return RunError(f"{path}: not a whole checkpoint ({first_line(error)}): use another one")


def _portable(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def optimiser_tensors(optimiser: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """AdamW's state as flat tensors, 'exp_avg.W_h'; `names` gives each parameter's."""
    return {
        f"{kind}.{names[parameter]}": value
        for parameter, values in optimiser.state.items()
        for kind, value in values.items()
    }


def load_optimiser_tensors(
    optimiser: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]
) -> None:
    """Give an optimiser the state that `optimiser_tensors` took from another."""
    for parameter, name in names.items():
        kinds = ("step", "exp_avg", "exp_avg_sq")
        optimiser.state[parameter] = {kind: tensors[f"{kind}.{name}"].to(parameter.device) for kind in kinds}
