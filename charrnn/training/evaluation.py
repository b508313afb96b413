"""Scoring a split: every character once, the state carried along the text, the same on any number of processes."""

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from charrnn.arrays import Ids, Nats, State
from charrnn.model import CharRNN
from charrnn.model.loss import PIECE
from charrnn.scores import Scores, score_streams
from charrnn.text.batches import Split
from charrnn.text.encoded import EncodedStream

__all__ = ["TorchPredictor", "evaluate_collective"]

_CHARS_AT_ONCE = 128


def evaluate_collective(model: CharRNN, stream: EncodedStream, split: Split, accelerator: Accelerator) -> Scores:
    """Score every character of `split` once, in float32, each predicted from those before it.

    The streams that it is read as, up to 64 side by side, depend on the split alone, never on the processes; those
    share them out, and sums are added up.
    """
    was_training = model.training
    model.eval()
    # The character before the split, where there is one, predicts the split's first.
    start = max(split.start, 1)
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    sums = np.zeros(3)
    for part in score_streams(TorchPredictor(model), stream.windows, start - 1, split.stop - start, share=share):
        sums += part.nats.sum(dtype=np.float64), (part.ids == part.guesses).sum(), part.ids.size
    everywhere = accelerator.reduce(torch.from_numpy(sums).to(accelerator.device), reduction="sum")
    total, correct, count = everywhere.tolist()
    model.train(was_training)
    return Scores(loss_nats=total / count, accuracy=correct / count, characters=round(count))


class TorchPredictor:
    """A CharRNN as what `score_streams` reads with: only losses and guesses leave its device, no logits."""

    def __init__(self, model: CharRNN) -> None:
        self._model = model

    def initial_state(self, batch: int) -> State:
        """Zeros [L, batch, H]."""
        return tuple(state.cpu().numpy() for state in self._model.initial_states(batch))

    def chars_at_once(self, batch: int) -> int:
        """Outputs of so many characters are held, and of their logits a piece."""
        return _CHARS_AT_ONCE

    @torch.no_grad()
    def predict(self, ids: Ids, state: State) -> tuple[Nats, Ids, State]:
        """See `Predictor`."""
        outputs, after = self._read(ids[:-1], state)
        targets = self._tokens(ids[1:]).flatten()
        pieces = max(1, PIECE // self._model.fc.out_features)
        nats, guesses = [], []
        for hidden, y in zip(torch.split(outputs.flatten(0, 1), pieces), torch.split(targets, pieces), strict=True):
            logits = self._model.fc(hidden)
            nats.append(F.cross_entropy(logits, y, reduction="none"))
            guesses.append(logits.argmax(-1))
        shape = outputs.shape[:2]
        return torch.cat(nats).view(shape).cpu().numpy(), torch.cat(guesses).view(shape).cpu().numpy(), after

    def _read(self, tokens: Ids, state: State) -> tuple[Tensor, State]:
        """The top layer's outputs [T, batch, H] after each of `tokens` [T, batch], and the state after all."""
        device = self._model.fc.weight.device
        states = tuple(torch.from_numpy(part).to(device) for part in state)
        outputs, after = self._model.outputs(self._tokens(tokens).T, states)
        return outputs, tuple(part.cpu().numpy() for part in after)

    def _tokens(self, ids: Ids) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(ids, np.int64)).to(self._model.fc.weight.device)
