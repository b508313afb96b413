"""model.onnx from a checkpoint of a run: what training does at its end, and `charrnn-export` at any time."""

from pathlib import Path
from typing import Any

from charrnn.errors import RunError, VocabularyError
from charrnn.export import export_onnx
from charrnn.model import CharRNN, ModelConfig
from charrnn.training.checkpoint import Checkpoint, Progress
from charrnn.training.run_directory import RunDirectory
from charrnn.training.tracking import MetricsFile, Record

__all__ = ["export_run"]


def export_run(directory: RunDirectory, checkpoint: Checkpoint, output: Path) -> dict[str, Any]:
    """Write the model of a checkpoint to `output`; returns the training summary that the file holds.

    Raises RunError where the run is not whole, VocabularyError where its vocabulary is not the model's.
    """
    description = directory.read_description()
    vocabulary, normaliser = directory.read_vocabulary()
    rows = checkpoint.model["fc.weight"].shape[0]
    if rows != len(vocabulary):
        raise VocabularyError(
            f"{directory.vocabulary}: has {len(vocabulary)} characters, the model {rows}: restore the run's own file"
        )
    try:
        model = CharRNN(ModelConfig(vocabulary_size=rows, **description["config"]["model"]))
        model.load_state_dict(checkpoint.model)
    except (KeyError, TypeError, RuntimeError) as error:
        raise RunError(
            f"{directory.config}: does not describe the model of step {checkpoint.progress.step}: restore it"
        ) from error
    records = MetricsFile(directory.metrics).read()
    summary = _summary(records, description, checkpoint.progress)
    samples = [str(record["sample"]) for record in records if "sample" in record]
    export_onnx(
        model,
        output,
        vocabulary=vocabulary,
        normaliser=normaliser,
        training=summary,
        text=samples[-1] if samples else "",
    )
    return summary


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
