"""model.onnx from a checkpoint of a run: what training does at its end, and `charrnn-export` at any time."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charrnn.errors import ConfigError, RunError, VocabularyError
from charrnn.export import OPSET, Weights, export_onnx
from charrnn.model import CharRNN, ModelConfig
from charrnn.processes.failures import is_out_of_memory
from charrnn.runs.checkpoint import Checkpoint, Progress
from charrnn.runs.directory import RunDirectory
from charrnn.runs.metrics import MetricsFile, Record

__all__ = ["Exported", "export_run", "load_model"]


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    summary: dict[str, Any]
    """The training summary that the file holds."""
    difference: float
    """The largest difference of a logit or state from torch; see `export_onnx`."""


def export_run(
    directory: RunDirectory,
    checkpoint: Checkpoint,
    output: Path,
    *,
    weights: Weights = "float32",
    opset: int = OPSET,
    facts: Mapping[str, Any] | None = None,
) -> Exported:
    """Write the model of a checkpoint to `output`.

    facts: what the file's training summary says otherwise than the run does, by name.
    Raises RunError where the run is not whole, VocabularyError where its vocabulary is not the model's, ConfigError
    where there is no such opset.
    """
    model = load_model(directory, checkpoint)
    vocabulary, normaliser = directory.read_vocabulary()
    records = MetricsFile(directory.metrics).read()
    summary = (
        _summary(records, directory.read_description(), checkpoint.progress) | {"weights": weights} | dict(facts or {})
    )
    samples = [str(record["sample"]) for record in records if "sample" in record]
    difference = export_onnx(
        model,
        output,
        vocabulary=vocabulary,
        normaliser=normaliser,
        training=summary,
        text=samples[-1] if samples else "",
        weights=weights,
        opset=opset,
    )
    return Exported(summary=summary, difference=difference)


def load_model(directory: RunDirectory, checkpoint: Checkpoint, **changes: Any) -> CharRNN:
    """The run's model with the checkpoint's weights; `changes` to its Architecture. Raises as `export_run` does."""
    description = directory.read_description()
    vocabulary, _ = directory.read_vocabulary()
    rows = checkpoint.model["fc.weight"].shape[0]
    if rows != len(vocabulary):
        raise VocabularyError(
            f"{directory.vocabulary}: has {len(vocabulary)} characters, the model {rows}: restore the run's own file"
        )
    try:
        model = CharRNN(ModelConfig(vocabulary_size=rows, **description["config"]["model"] | changes))
        model.load_state_dict(checkpoint.model)
    except (ConfigError, KeyError, TypeError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        raise RunError(
            f"{directory.config}: does not describe the model of step {checkpoint.progress.step}: restore it"
        ) from error
    return model


def _summary(records: list[Record], description: dict[str, Any], progress: Progress) -> dict[str, Any]:
    tests = [record for record in records if "test_loss_nats" in record]
    return {
        "charrnn": description["charrnn"],
        "preset": description["config"]["preset"],
        "corpus": description["text"]["description"],
        "corpus_sha256": description["text"]["sha256"],
        "step": progress.step,
        "characters_seen": progress.characters_seen,
        "validation_loss_nats": progress.validation_loss_nats,
        # The test split is scored with the best checkpoint alone; its record says at which step that stood.
        "test_loss_nats": next((r["test_loss_nats"] for r in tests if r["best_step"] == progress.step), None),
    }
