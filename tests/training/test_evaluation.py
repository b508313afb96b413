"""A split is scored as if it were read once from its beginning, one character after the other."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator

from charrnn.model import CharRNN
from charrnn.runtime.scoring import MAX_STREAMS, MIN_STREAM_CHARS, WARM_UP
from charrnn.text.batches import Split
from charrnn.text.stream import EncodedStream
from charrnn.training.evaluation import evaluate
from tests.training.small import V, model_of, stream_of

# The state starts at zero where a stream starts, and WARM_UP characters later what is left of that difference is
# 1e-13 and less (measured below for this initialisation): float64 shows it, float32 rounds at 1e-7 a sum of some
# thousands of losses of which each is exact to 1e-7.
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5}


@torch.no_grad()
def one_by_one(model: CharRNN, stream: EncodedStream, split: Split) -> tuple[float, float, int]:
    """Mean loss, accuracy and number of characters of `split`, read as one stream by one row."""
    ids = torch.from_numpy(stream.read(max(split.start - 1, 0), split.stop).copy()).long()
    state, loss, hits = model.initial_state(1), 0.0, 0
    for now, after in itertools.pairwise(ids):
        logits, state = model(now.reshape(1, 1), state)
        loss += float(F.cross_entropy(logits[0].double(), after.reshape(1)))
        hits += int(logits[0, 0].argmax() == after)
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
def test_equals_reading_one_character_after_the_other(
    accelerator: Accelerator, dtype: torch.dtype, start: int, length: int
) -> None:
    stream, model = stream_of(5000), model_of(seed=3).to(dtype)
    split = Split("validation", start, start + length)
    loss, accuracy, count = one_by_one(model, stream, split)
    scores = evaluate(model, stream, split, accelerator)
    assert scores.characters == count == (length if start else length - 1)
    assert scores.loss_nats == pytest.approx(loss, rel=TOLERANCE[dtype])
    assert scores.accuracy == pytest.approx(accuracy, abs=0.5 / count), "not one character's guess differs"
    assert scores.bpc == pytest.approx(scores.loss_nats / math.log(2))


def test_the_state_forgets_its_start_within_the_warm_up() -> None:
    """What the streams rest on, for the default initialisation: |difference| after WARM_UP characters."""
    model = model_of(seed=3).double()
    ids = torch.from_numpy(stream_of(WARM_UP).read(0, WARM_UP).copy())[None]
    with torch.no_grad():
        _, zero = model(ids)
        _, other = model(ids, torch.ones_like(zero))
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
    scores = evaluate(model, stream, split, accelerator)
    assert scores.characters == length
    assert scores.accuracy == float((targets == V - 1).double().mean())
    # Losses of one character are float32, sums float64; one more or one less character changes the mean by 1e-5.
    assert scores.loss_nats == pytest.approx(float(costs[targets].mean()), rel=1e-7)


def test_it_leaves_the_model_in_the_mode_it_was_in(accelerator: Accelerator) -> None:
    stream, model = stream_of(300), model_of(dropout=0.5)
    split = Split("validation", 100, 300)
    first = evaluate(model.train(), stream, split, accelerator)
    assert model.training
    assert evaluate(model.eval(), stream, split, accelerator) == first, "and dropout is off meanwhile"
    assert not model.training
