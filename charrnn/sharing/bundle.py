"""The files of a repository, made from a run: all of them in memory, and whole, before the first is sent."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import charrnn
from charrnn.errors import ConfigError, CorpusError
from charrnn.export import OPSET, Weights
from charrnn.hub import listing
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.runs.export_run import export_run, load_model
from charrnn.runs.metrics import MetricsFile
from charrnn.runs.plot import LossPlot
from charrnn.runs.pretrained import CONFIG, as_bytes, pretrained_files
from charrnn.runtime import OnnxModel, generate
from charrnn.sharing.card import Card
from charrnn.sharing.public import public_corpus, public_origin, public_settings, public_text
from charrnn.training.loss_change import measure_loss_change

__all__ = ["NAMES", "Bundle", "bundle"]

MODELS: dict[str, Weights] = {"model.onnx": "float32", "model-int8.onnx": "int8"}
NAMES = ("README.md", CONFIG, "loss.png", *MODELS, "model.safetensors", "vocabulary.json")
"""All the files that a push writes; what else is in a repository is its owner's."""
_SAMPLE_FLAGS = "--length 400 --temperature 0.7 --seed 1"


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What goes up."""

    files: dict[str, bytes]
    """Contents by name."""
    step: int
    """Of the checkpoint that they were made from."""


def bundle(
    directory: RunDirectory, checkpoint: Checkpoint, repository: str, *, license: str = "", opset: int = OPSET
) -> Bundle:
    """The files for `repository` (OWNER/NAME); nothing in them says where or by whom they were made.

    Raises RunError where the run is not whole, ConfigError where there is no such opset.
    """
    description = directory.read_description()
    settings, text = public_settings(description["config"]), public_text(description)
    with tempfile.TemporaryDirectory(prefix="charrnn-") as name:
        folder = Path(name)
        facts = {"corpus": public_corpus(description["config"])}
        for file, weights in MODELS.items():
            exported = export_run(directory, checkpoint, folder / file, weights=weights, opset=opset, facts=facts)
        records = MetricsFile(directory.metrics).read()
        LossPlot.of(records, title=repository).draw(folder / "loss.png")  # the run's own title names its directory
        sample = generate(OnnxModel.load(folder / "model.onnx"), "", 400, temperature=0.7, seed=1)
        int8_nats = _cost(directory, checkpoint, folder / "model-int8.onnx")
        files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    model = load_model(directory, checkpoint)
    training = {name: value for name, value in exported.summary.items() if name != "weights"}
    card = Card(
        repository=repository,
        license=license,
        settings=settings,
        text=text,
        origin=public_origin(description["config"]),
        parameters=sum(value.numel() for value in model.parameters()),
        training=training,
        sizes={file: len(files[file]) for file in MODELS},
        int8_nats=int8_nats,
        sample=sample,
        sample_flags=_SAMPLE_FLAGS,
        version=charrnn.__version__,
    )
    files |= pretrained_files(model.config, model.state_dict(), *directory.read_vocabulary())
    files["README.md"] = card.markdown().encode()
    files[CONFIG] = _config(files, {"training": training, "settings": settings, "text": text})
    return Bundle(files=files, step=checkpoint.progress.step)


def _config(files: dict[str, bytes], more: dict[str, Any]) -> bytes:
    """config.json of the model, how it was trained, and a list of the other files."""
    others = {name: data for name, data in files.items() if name != CONFIG}
    return as_bytes(json.loads(files[CONFIG]) | more | {"files": listing(others)})


def _cost(directory: RunDirectory, checkpoint: Checkpoint, file: Path) -> float | None:
    """What int8 costs in nats; None where the text is not in the cache any more."""
    try:
        return measure_loss_change(directory, checkpoint, file).nats
    except (ConfigError, CorpusError):
        return None
