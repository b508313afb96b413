"""Text from the model in training, by the sampler that the exported model will have."""

from typing import Unpack

import numpy as np
import torch

from charrnn.arrays import Ids, Logits, State
from charrnn.model import CharRNN
from charrnn.runtime.sampling import Sampler
from charrnn.runtime.step_model import StepModel
from charrnn.runtime.stream import stream_ids
from charrnn.sampling_config import SamplingConfig, SamplingSettings
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.evaluation import TorchPredictor

__all__ = ["TorchStep", "write_sample"]


class TorchStep(TorchPredictor, StepModel):
    """A CharRNN as the sampler's step model."""

    def __init__(self, model: CharRNN, vocabulary: Vocabulary) -> None:
        super().__init__(model)
        self.vocabulary = vocabulary

    @torch.no_grad()
    def read(self, tokens: Ids, state: State) -> tuple[Logits, State]:
        """Read `tokens` int64 [T, batch]; the logits [T, batch, V] after each, the state after all."""
        outputs, after = self._read(tokens, state)
        return self._model.fc(outputs).cpu().numpy(), after

    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read `token` int64 [batch]; return logits [batch, V] and the new state."""
        logits, after = self.read(token[None], state)
        return logits[0], after


def write_sample(
    model: CharRNN, vocabulary: Vocabulary, prompt: str, *, length: int, seed: int, **settings: Unpack[SamplingSettings]
) -> str:
    """`prompt`, already normalised, and `length` characters that the model puts after it.

    settings: the fields of `SamplingConfig`.
    """
    was_training = model.training
    model.eval()
    sampler = Sampler(SamplingConfig(**settings), seed, 1)
    ids = stream_ids(TorchStep(model, vocabulary), vocabulary.encode(prompt), length=length, sampler=sampler)
    text = prompt + vocabulary.decode(np.concatenate(list(ids)))
    model.train(was_training)
    return text
