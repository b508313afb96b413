"""How well a model.onnx predicts a text: the short way. `charrnn.scores` has the loop, which training has, too."""

from charrnn.runtime.model import OnnxModel
from charrnn.scores import Scores, score_blocks

__all__ = ["score"]


def score(model: OnnxModel, text: str) -> Scores:
    """Score `text`, normalised as prompts are.

    Raises VocabularyError for characters that the model lacks, CorpusError for fewer than two characters.
    """
    return Scores.of(score_blocks(model, [model.vocabulary.encode(model.normaliser(text))]))
