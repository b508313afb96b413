"""charrnn-export: write model.onnx from a checkpoint of a run."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from charrnn.cli.common import exit_status
from charrnn.cli.flags import parse_flags
from charrnn.errors import RunError

if TYPE_CHECKING:
    from charrnn.training.checkpoint import Checkpoint

__all__ = ["main"]


@dataclass(frozen=True, kw_only=True)
class ExportOptions:
    """What is exported, and where to."""

    run: Annotated[Path, tyro.conf.Positional]
    """Run directory, as training made it."""
    checkpoint: str = "best"
    """best, latest, or the name of a checkpoint in the run, such as step-00001000."""
    output: Path | None = None
    """File to write; default: model.onnx in the run directory."""


def main() -> None:
    """Entry point of `charrnn-export`."""
    sys.exit(exit_status("charrnn-export", lambda: run(sys.argv[1:])))


def run(arguments: Sequence[str]) -> int:
    """Export as `arguments` say; returns the exit status."""
    options = parse_flags(
        ExportOptions,
        list(arguments),
        prog="charrnn-export",
        description="Write the ONNX model of a run's checkpoint, checked against torch.",
    )
    from charrnn.training.export_run import export_run
    from charrnn.training.run_directory import RunDirectory

    directory = RunDirectory(options.run)
    output = options.output or directory.model
    summary = export_run(directory, _checkpoint(directory.path, directory.checkpoints, options.checkpoint), output)
    print(f"{output}: {output.stat().st_size / 1e6:.1f} MB, from step {summary['step']:,}, equal to torch within 1e-5")
    return 0


def _checkpoint(run: Path, checkpoints: Path, name: str) -> "Checkpoint":
    from charrnn.training.checkpoint import best_first, first_whole, newest_first, read_checkpoint

    orders = {"best": best_first, "latest": newest_first}
    if name not in orders and (checkpoints / name).is_dir():
        return read_checkpoint(checkpoints / name)
    whole = first_whole(orders[name](checkpoints), _warn) if name in orders else None
    if whole is None:
        have = ", ".join(sorted(p.name for p in checkpoints.glob("step-*"))) or "none"
        raise RunError(f"{run}: has no checkpoint {name!r} (it has: {have}): name a run directory and one of its own")
    return whole


def _warn(message: str) -> None:
    print(f"charrnn-export: {message}", file=sys.stderr)


if __name__ == "__main__":
    main()
