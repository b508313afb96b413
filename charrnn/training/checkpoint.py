"""Checkpoints: directories of safetensors and JSON that are whole or do not exist. Nothing is ever unpickled.

`checkpoints/step-00001000/` holds `model.safetensors`, `optimiser.safetensors`, `state.safetensors`, `progress.json`
and, written last, `manifest.json` with every file's size and SHA-256. It is made under a temporary name, flushed to the
disk and renamed; readers look at complete ones only.
"""

import hashlib
import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from charrnn.errors import RunError
from charrnn.files import sync_directory

__all__ = [
    "Checkpoint",
    "Progress",
    "best",
    "latest",
    "load_optimiser_tensors",
    "optimiser_tensors",
    "prune",
    "read_checkpoint",
    "read_progress",
    "write_checkpoint",
]

FORMAT_VERSION = 1
_TENSOR_FILES = ("model", "optimiser", "state")


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where in training a checkpoint stands."""

    step: int
    """Optimiser steps done."""
    characters_seen: int
    """Characters trained on so far, over all processes."""
    validation_loss_nats: float | None
    """Validation loss at this step, in nats per character; None where there is no validation split."""
    gradient_scale: float | None = None
    """Loss scale of fp16 training; None otherwise."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a checkpoint holds: tensors by name, and the progress."""

    model: dict[str, Tensor]
    """Parameters, by their names in CharRNN."""
    optimiser: dict[str, Tensor]
    """AdamW's `exp_avg`, `exp_avg_sq` and `step` of each parameter, as 'exp_avg.W_h'."""
    state: dict[str, Tensor]
    """The carried state of every row of the global batch: {'state': [L, B, H]}, or empty at an epoch's start."""
    progress: Progress


def write_checkpoint(directory: Path, checkpoint: Checkpoint) -> Path:
    """Write `checkpoint` under `directory` and return its path. Raises RunError where it cannot, leaving nothing."""
    final = directory / f"step-{checkpoint.progress.step:08d}"
    temporary = directory / f".{final.name}.{os.getpid()}"
    files = {f"{name}.safetensors": save(_portable(getattr(checkpoint, name))) for name in _TENSOR_FILES}
    files["progress.json"] = json.dumps(asdict(checkpoint.progress), indent=1).encode()
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
        sync_directory(temporary)
        if final.exists():  # the same step again, after a resume
            _delete(final)
        temporary.rename(final)
        sync_directory(directory)
    except OSError as error:
        raise RunError(f"{final}: checkpoint not written ({error.strerror}): free space there and resume") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def read_checkpoint(path: Path) -> Checkpoint:
    """Read the checkpoint at `path`, every file checked against the manifest. Raises RunError where one fails."""
    files = _read_files(path)
    try:
        tensors = {name: load(files[f"{name}.safetensors"]) for name in _TENSOR_FILES}
    except SafetensorError as error:
        raise RunError(f"{path}: not a whole checkpoint ({error}): delete it to use the one before") from error
    return Checkpoint(**tensors, progress=read_progress(path))


def read_progress(path: Path) -> Progress:
    """Where the checkpoint at `path` stands, without its tensors. Raises RunError where that cannot be read."""
    try:
        return Progress(**json.loads((path / "progress.json").read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise RunError(f"{path}: not a whole checkpoint ({error}): delete it to use the one before") from error


def latest(directory: Path) -> Path | None:
    """The newest complete checkpoint in `directory`, None where there is none."""
    return max(_complete(directory), default=None)


def best(directory: Path) -> Path | None:
    """The checkpoint with the lowest validation loss; the newest where none has one; None where there is none."""
    return min(_complete(directory), key=_rank, default=None)


def prune(directory: Path, keep: int) -> None:
    """Delete all checkpoints but the best and the newest `keep`, and what a killed process left unfinished."""
    complete = sorted(_complete(directory))
    unfinished = set(directory.glob("step-*")) - set(complete) | set(directory.glob(".step-*"))
    for path in (set(complete[:-keep]) - {best(directory)}) | unfinished:
        _delete(path)


def _delete(path: Path) -> None:
    """Delete a checkpoint. Its manifest goes first: whatever happens then, nobody takes the rest for a whole one."""
    (path / "manifest.json").unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def _complete(directory: Path) -> list[Path]:
    """Those with a manifest: it is written last, and the directory takes its name after that."""
    return [path for path in directory.glob("step-*") if (path / "manifest.json").is_file()]


def _rank(path: Path) -> tuple[float, int]:
    progress = read_progress(path)
    loss = progress.validation_loss_nats
    return (float("inf") if loss is None else loss), -progress.step


def _read_files(path: Path) -> dict[str, bytes]:
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        version = manifest["format_version"]
        if version != FORMAT_VERSION:
            raise RunError(f"{path}: checkpoint format {version}: this charrnn reads {FORMAT_VERSION}, use another one")
        names = [*(f"{name}.safetensors" for name in _TENSOR_FILES), "progress.json"]
        files = {name: (path / name).read_bytes() for name in names}
        expected = {name: manifest["files"][name]["sha256"] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: not a whole checkpoint ({error}): delete it to use the one before") from error
    for name, data in files.items():
        if _sha256(data) != expected[name]:
            raise RunError(f"{path / name}: does not match its checksum: delete {path} to use the checkpoint before it")
    return files


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
