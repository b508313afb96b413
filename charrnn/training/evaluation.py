"""Scoring a split: every character once, the state carried along the text, the same on any number of processes."""

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from charrnn.model import CharRNN
from charrnn.runtime.scoring import WARM_UP, Scores
from charrnn.text.batches import Split
from charrnn.text.stream import EncodedStream

__all__ = ["evaluate"]

MAX_STREAMS = 64
MIN_STREAM_LENGTH = 1024
_LENGTH = 128


@torch.no_grad()
def evaluate(model: CharRNN, stream: EncodedStream, split: Split, accelerator: Accelerator) -> Scores:
    """Score every character of `split` once, in float32, each predicted from those before it.

    The split is read as up to 64 contiguous streams side by side, fewer where it is short. A stream that does not
    start the split first reads the `WARM_UP` characters before it, so its state is the carried one to within rounding.
    The streams depend on the split alone, never on the processes; those share them out, and sums are added up.
    """
    was_training = model.training
    model.eval()
    # The character before the split, where there is one, predicts the split's first.
    start = max(split.start, 1)
    length = split.stop - start
    streams = max(1, min(MAX_STREAMS, length // MIN_STREAM_LENGTH))
    rows = np.arange(streams)[accelerator.process_index :: accelerator.num_processes]
    sums = torch.zeros(3, dtype=torch.float64, device=accelerator.device)
    if len(rows):
        _score_rows(model, stream, start, length, streams, rows, sums)
    total, correct, count = accelerator.reduce(sums, reduction="sum").tolist()
    model.train(was_training)
    return Scores(loss_nats=total / count, accuracy=correct / count, characters=round(count))


def _score_rows(
    model: CharRNN, stream: EncodedStream, start: int, length: int, streams: int, rows: np.ndarray, sums: Tensor
) -> None:
    each = length // streams
    starts = start - 1 + rows * each
    state = _warm_state(model, stream, starts, first=start - 1)
    for offset in range(0, each, _LENGTH):
        windows = stream.windows(starts + offset, min(_LENGTH, each - offset) + 1)
        state = _add_scores(model, windows, state, sums)
    rest = length - each * streams
    if rest and rows[-1] == streams - 1:  # the last stream goes on to the end of the split
        _add_scores(model, stream.windows(starts[-1:] + each, rest + 1), state[:, -1:], sums)


def _warm_state(model: CharRNN, stream: EncodedStream, starts: np.ndarray, first: int) -> Tensor:
    """The state before each of `starts`, [L, len(starts), H]: zero at `first`, elsewhere warmed up."""
    state = model.initial_state(len(starts))
    inside = np.flatnonzero(starts > first)
    if len(inside):
        windows = stream.windows(starts[inside] - WARM_UP, WARM_UP)
        state[:, torch.from_numpy(inside)] = CharRNN.forward(model, _to_device(windows, model))[1]
    return state


def _add_scores(model: CharRNN, windows: np.ndarray, state: Tensor, sums: Tensor) -> Tensor:
    """Add the loss, the hits and the number of characters of `windows` [rows, T+1] to `sums`; return the next state."""
    tokens = _to_device(windows, model)
    # The class's own forward: accelerate wraps the instance's in autocast, and scores are float32.
    logits, state = CharRNN.forward(model, tokens[:, :-1], state)
    logits, targets = logits.flatten(0, 1), tokens[:, 1:].flatten()
    sums += torch.stack(
        [
            F.cross_entropy(logits, targets, reduction="none").double().sum(),
            (logits.argmax(-1) == targets).sum().double(),
            torch.tensor(len(targets), dtype=torch.float64, device=sums.device),
        ]
    )
    return state


def _to_device(windows: np.ndarray, model: CharRNN) -> Tensor:
    return torch.from_numpy(windows).to(model.fc.weight.device).long()
