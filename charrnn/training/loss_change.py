"""What weights in fewer bytes cost: the loss of the file and of the model, on the run's own validation split."""

from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import CorpusError
from charrnn.export.parity import one_thread
from charrnn.files import cache_dir
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.runs.export_run import load_model
from charrnn.runtime import OnnxModel, StepModel
from charrnn.scores import BLOCK_CHARS, Scores, score_blocks
from charrnn.text.encoded import EncodedStream
from charrnn.text.prepared import find_prepared
from charrnn.training.sample_writer import TorchStep

__all__ = ["LossChange", "measure_loss_change"]

_MAX_CHARS = BLOCK_CHARS
"""Of the validation split, from its beginning: seconds, and a change of 0.0001 nats shows."""


@dataclass(frozen=True, kw_only=True)
class LossChange:
    """The same characters, scored by both."""

    model_nats: float
    """Loss of the model in torch, in nats a character."""
    file_nats: float
    """Loss of the file in onnxruntime."""
    characters: int
    """Characters that were scored."""

    @property
    def nats(self) -> float:
        """What the file costs."""
        return self.file_nats - self.model_nats


def measure_loss_change(directory: RunDirectory, checkpoint: Checkpoint, file: Path) -> LossChange:
    """Score the beginning of the run's validation split with the checkpoint's model and with `file`.

    Raises CorpusError where the run has no such split, or the cache no longer its text: the corpus itself, which may
    have been standard input, is never read again.
    """
    stream, start, stop = _validation_split(directory)
    vocabulary, _ = directory.read_vocabulary()

    def score(model: StepModel) -> Scores:
        return Scores.of(score_blocks(model, [stream.read(start, min(stop, start + _MAX_CHARS))]))

    # Whatever it was trained with: not every way of running the recurrence is there on this machine.
    trained = load_model(directory, checkpoint, recurrence="auto")
    with one_thread():
        model = score(TorchStep(trained.eval(), vocabulary))
    scores = score(OnnxModel.load(file))
    return LossChange(model_nats=model.loss_nats, file_nats=scores.loss_nats, characters=scores.characters)


def _validation_split(directory: RunDirectory) -> tuple[EncodedStream, int, int]:
    """The run's text, and where in it the split lies."""
    text = directory.read_description()["text"]
    vocabulary, normaliser = directory.read_vocabulary()
    try:
        start, stop = text["splits"]["validation"]
        prepared = find_prepared(text["sha256"], vocabulary, normaliser, length=text["characters"])
        if start == stop:
            raise CorpusError(f"{directory.path}: has no validation split")
        if prepared is None:
            raise CorpusError(f"{text['description']}: is not in the cache {cache_dir()} any more")
        if not 0 <= start < stop <= len(prepared.stream):
            raise ValueError(f"no split of {len(prepared.stream)} characters is [{start}, {stop}]")
    except (KeyError, TypeError, ValueError) as error:
        raise CorpusError(f"{directory.config}: does not say where its validation split lies") from error
    return prepared.stream, start, stop
