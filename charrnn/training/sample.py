"""Text from the model in training, by the sampler that the exported model will have."""

import numpy as np
import torch

from charrnn.model import CharRNN
from charrnn.runtime.sampling import Sampler, SamplingConfig
from charrnn.runtime.step import Ids, Logits, State, StepModel
from charrnn.runtime.stream import stream_ids
from charrnn.text.vocabulary import Vocabulary

__all__ = ["TorchStep", "write_sample"]


class TorchStep(StepModel):
    """A CharRNN as the sampler's step model."""

    def __init__(self, model: CharRNN, vocabulary: Vocabulary) -> None:
        self._model = model
        self.vocabulary = vocabulary

    def initial_state(self, batch: int) -> State:
        """Zeros [L, batch, H]."""
        return (self._model.initial_state(batch).cpu().numpy(),)

    @torch.no_grad()
    def step(self, token: Ids, state: State) -> tuple[Logits, State]:
        """Read `token` int64 [batch]; return logits [batch, V] and the new state."""
        device = self._model.fc.weight.device
        tokens = torch.from_numpy(np.asarray(token, dtype=np.int64))[:, None].to(device)
        # The class's own forward: accelerate wraps the instance's in autocast.
        logits, next_state = CharRNN.forward(self._model, tokens, torch.from_numpy(state[0]).to(device))
        return logits[:, 0].cpu().numpy(), (next_state.cpu().numpy(),)


def write_sample(
    model: CharRNN, vocabulary: Vocabulary, prompt: str, *, length: int, temperature: float, seed: int
) -> str:
    """`prompt`, already normalised, and `length` characters that the model puts after it."""
    was_training = model.training
    model.eval()
    sampler = Sampler(SamplingConfig(temperature=temperature), seed, 1)
    ids = stream_ids(TorchStep(model, vocabulary), vocabulary.encode(prompt), length=length, sampler=sampler)
    text = prompt + vocabulary.decode(np.concatenate(list(ids)))
    model.train(was_training)
    return text
