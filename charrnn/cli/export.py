"""charrnn-export: write the ONNX model of a run's checkpoint, or a page to write with it, or put it on the Hub."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from charrnn.cli.common import exit_status
from charrnn.cli.export_page import page_of_file, size
from charrnn.cli.flags import parse_flags
from charrnn.console import tell, told_bytes
from charrnn.errors import ConfigError, CorpusError, RunError, first_line
from charrnn.files import looking_at
from charrnn.garbage import no_garbage_collection
from charrnn.pages.writing_page import title_of

if TYPE_CHECKING:
    from charrnn.cli.export_options import ExportOptions
    from charrnn.export import Weights
    from charrnn.runs.checkpoint import Checkpoint
    from charrnn.runs.directory import RunDirectory

__all__ = ["main"]

INT8_COSTS_NATS = 0.001
"""What int8 may cost without a warning; trained models were seen to lose 0.0002 to 0.0007."""


def main() -> None:
    """Entry point of `charrnn-export`."""
    sys.exit(exit_status("charrnn-export", lambda: run(sys.argv[1:])))


def run(arguments: Sequence[str]) -> int:
    """Export as `arguments` say; returns the exit status."""
    from charrnn.cli.export_options import ExportOptions  # what it needs may not be installed: that is said then

    options = parse_flags(
        ExportOptions,
        list(arguments),
        prog="charrnn-export",
        description="Write the ONNX model of a run's checkpoint, checked against torch, or put it on the Hub.",
    )
    if options.page:
        with looking_at(options.run):
            is_model = options.run.is_file()
        if is_model:
            _check_goes_in_as_it_is(options)
            page_of_file(options.run, options.page)
            return 0
    try:
        _push(options) if options.hub else _export(options)
    except Exception as error:
        from charrnn.processes.failures import is_out_of_memory

        if is_out_of_memory(error):
            message = f"{options.run}: out of memory ({first_line(error)}): free some, or export it where there is more"
            raise RunError(message) from error
        raise
    return 0


def _export(options: "ExportOptions") -> None:
    with no_garbage_collection():
        from charrnn.pages.page_file import write_page
        from charrnn.runs.choice import choose_checkpoint
        from charrnn.runs.directory import RunDirectory
        from charrnn.runs.export_run import export_run

    directory = RunDirectory(options.run)
    weights = options.weights
    with tempfile.TemporaryDirectory(prefix="charrnn-export-") as scratch:
        checkpoint = choose_checkpoint(directory, options.checkpoint, _warn)
        name = "model.onnx" if weights == "float32" else f"model-{weights}.onnx"
        model = Path(scratch) / name if options.page else options.output or directory.model.with_name(name)
        exported = export_run(directory, checkpoint, model, weights=weights, opset=options.opset)
        written = f"{model}: {size(model)}, from step {exported.summary['step']:,}"
        if options.page:
            write_page(model, options.page, title_of(directory.path.resolve()))
            written = f"{options.page}: {size(options.page)}, {weights}, from step {exported.summary['step']:,}"
        if weights == "float32":
            tell(f"{written}, equal to torch within 1e-5", sys.stdout)
        else:
            tell(f"{written}; {_cost(directory, checkpoint, model, weights, exported.difference)}", sys.stdout)


def _push(options: "ExportOptions") -> None:
    from charrnn.hub import HubAddress, check_login

    check_login(str(HubAddress.of_repository(options.hub)))  # before torch is imported, which takes seconds
    with no_garbage_collection():
        from charrnn.sharing.upload import push_run

    pushed = push_run(
        options.run,
        options.hub,
        checkpoint=options.checkpoint,
        public=options.hub_public,
        license=options.license,
        opset=options.opset,
        say=_warn,
    )
    who = "private" if pushed.private else "public"
    told = f"{pushed.url} ({who}): {told_bytes(pushed.size_bytes)}, from step {pushed.step:,}"
    tell(f"{told}; charrnn-sample {pushed.address}", sys.stdout)


def _check_goes_in_as_it_is(options: "ExportOptions") -> None:
    """Raises ConfigError for flags that choose what is exported, where nothing is."""
    defaults = {field.name: field.default for field in fields(options)}
    for name in ("checkpoint", "quantize", "float16", "opset"):
        if getattr(options, name) != defaults[name]:
            raise ConfigError(
                f"--{name} is for a run, and {options.run} is a model file: leave it out, or name the run"
            )


def _cost(
    directory: "RunDirectory", checkpoint: "Checkpoint", output: Path, weights: "Weights", difference: float
) -> str:
    """What `weights` in fewer bytes cost, in loss, or where that cannot be known in logits."""
    from charrnn.training.loss_change import measure_loss_change

    try:
        change = measure_loss_change(directory, checkpoint, output)
    except (ConfigError, CorpusError) as error:  # no cache directory, or nothing there
        _warn(f"the loss is not measured: {error}")
        return f"logits within {difference:.1e} of what torch has with the same {weights} weights"
    if weights == "int8" and change.nats > INT8_COSTS_NATS:
        _warn(f"int8 costs this model more than {INT8_COSTS_NATS} nats: float16 or float32 may be the better choice")
    scored = f"{change.characters:,} characters"
    return f"validation loss {change.file_nats:.4f} nats, {round(change.nats, 4) + 0.0:+.4f} by {weights} ({scored})"


def _warn(message: str) -> None:
    tell(f"charrnn-export: {message}", sys.stderr)


if __name__ == "__main__":
    main()
