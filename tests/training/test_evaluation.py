"""A split is scored as if it were read once from its beginning, one character after the other."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils._python_dispatch import TorchDispatchMode

from charrnn.model import CharRNN, ModelConfig
from charrnn.scores import MAX_STREAMS, MIN_STREAM_CHARS, WARM_UP, score_streams
from charrnn.text.batches import Split
from charrnn.text.encoded import EncodedStream
from charrnn.training.evaluation import TorchPredictor, evaluate_collective
from tests.training.small import V, model_of, stream_of

# The state starts at zero where a stream starts, and WARM_UP characters later what is left of that difference is
# 1e-13 and less (measured below for this initialisation): float64 shows it, float32 rounds at 1e-7 a sum of some
# thousands of losses of which each is exact to 1e-7.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@torch.no_grad()
def as_one_stream(model: CharRNN, stream: EncodedStream, split: Split) -> tuple[float, float, int]:
    """Mean loss, accuracy and number of characters of `split`, read as one stream by one row."""
    ids = torch.from_numpy(stream.read(max(split.start - 1, 0), split.stop).copy()).long()
    logits, _ = model(ids[None, :-1])
    loss = float(F.cross_entropy(logits[0].double(), ids[1:], reduction="sum"))
    hits = int((logits[0].argmax(-1) == ids[1:]).sum())
    count = len(ids) - 1
    return loss / count, hits / count, count


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 3333),  # the split's first character has nothing before it
        (1, 3333),
        (500, 3 * MIN_STREAM_CHARS),  # three streams, nothing left over
        (777, 3 * MIN_STREAM_CHARS + 2),  # three, and two characters that the last one reads on
        (1300, 700),  # one
        (1300, 1),
    ],
)
def test_equals_reading_all_of_it_as_one_stream(
    accelerator: Accelerator, dtype: torch.dtype, start: int, length: int
) -> None:
    stream, model = stream_of(5000), model_of(seed=3).to(dtype)
    split = Split("validation", start, start + length)
    loss, accuracy, count = as_one_stream(model, stream, split)
    scores = evaluate_collective(model, stream, split, accelerator)
    assert scores.characters == count == (length if start else length - 1)
    assert scores.loss_nats == pytest.approx(loss, rel=TOLERANCE[dtype])
    assert scores.accuracy == pytest.approx(accuracy, abs=0.5 / count), "not one character's guess differs"
    assert scores.bpc == pytest.approx(scores.loss_nats / math.log(2))


def test_the_state_forgets_its_start_within_the_warm_up() -> None:
    """What the streams rest on, for the default initialisation: |difference| after WARM_UP characters."""
    model = model_of(seed=3).double()
    ids = torch.from_numpy(stream_of(WARM_UP).read(0, WARM_UP).copy())[None]
    with torch.no_grad():
        _, (zero,) = model(ids)
        _, (other,) = model(ids, (torch.ones_like(zero),))
    assert float((zero - other).abs().max()) < 1e-12


@pytest.mark.parametrize("streams", [1, 2, MAX_STREAMS])
def test_every_character_is_counted_once(accelerator: Accelerator, streams: int) -> None:
    """A model of constant logits has a known loss of each character: miss or repeat one, and the mean changes."""
    length = streams * MIN_STREAM_CHARS + streams - 1 if streams < MAX_STREAMS else 70 * MIN_STREAM_CHARS
    stream, model = stream_of(length + 300), model_of(embedding_size=1, hidden_size=1, num_layers=1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.fc.bias.copy_(torch.arange(V) / 3)
    split = Split("test", 300, 300 + length)
    costs = -torch.log_softmax(model.fc.bias.detach().double(), 0)
    targets = torch.from_numpy(stream.read(split.start, split.stop).copy()).long()
    scores = evaluate_collective(model, stream, split, accelerator)
    assert scores.characters == length
    assert scores.accuracy == float((targets == V - 1).double().mean())
    # Losses of one character are float32, sums float64; one more or one less character changes the mean by 1e-5.
    assert scores.loss_nats == pytest.approx(float(costs[targets].mean()), rel=1e-7)


def test_it_leaves_the_model_in_the_mode_it_was_in(accelerator: Accelerator) -> None:
    stream, model = stream_of(300), model_of(dropout=0.5)
    split = Split("validation", 100, 300)
    first = evaluate_collective(model.train(), stream, split, accelerator)
    assert model.training
    assert evaluate_collective(model.eval(), stream, split, accelerator) == first, "and dropout is off meanwhile"
    assert not model.training


class LargestFloat(TorchDispatchMode):
    """Knows the size, in numbers, of the largest float tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        result = function(*arguments, **(options or {}))
        for each in result if isinstance(result, tuple) else (result,):
            if isinstance(each, torch.Tensor) and each.is_floating_point():
                self.numbers = max(self.numbers, each.numel())
        return result


def test_logits_are_never_whole(accelerator: Accelerator) -> None:
    """A text of many kinds of characters: 8 streams of 128 at a time would be 5 million numbers."""
    many = 5003
    stream = EncodedStream.of(np.random.default_rng(0).integers(0, many, 8 * MIN_STREAM_CHARS + 300).astype(np.uint16))
    torch.manual_seed(0)
    model = CharRNN(ModelConfig(vocabulary_size=many, embedding_size=3, hidden_size=4))
    with LargestFloat() as largest:
        evaluate_collective(model, stream, Split("test", 300, len(stream)), accelerator)
    assert many * 100 < largest.numbers <= 2**21


@pytest.mark.parametrize("processes", [2, 3, 7])
def test_processes_share_the_streams_out(processes: int) -> None:
    """Each is read by one of them, and gives what it would have given beside the others."""
    stream, model = stream_of(5 * MIN_STREAM_CHARS + 300), TorchPredictor(model_of(seed=3).eval())

    def read(share: slice) -> dict[int, float]:
        parts = score_streams(model, stream.windows, 299, len(stream) - 300, share=share)
        pairs = [zip(part.places.ravel().tolist(), part.nats.ravel().tolist(), strict=True) for part in parts]
        return dict(itertools.chain.from_iterable(pairs))

    whole = read(slice(None))
    assert sorted(whole) == list(range(5 * MIN_STREAM_CHARS))
    shares = [read(slice(process, None, processes)) for process in range(processes)]
    assert sum(map(len, shares)) == len(whole)
    together = {place: nats for share in shares for place, nats in share.items()}
    assert together == pytest.approx(whole, abs=1e-5)
