"""A text is scored as if it were read once, one character after the other, however it is cut."""

import argparse
import inspect
import itertools
import math
from pathlib import Path

import numpy as np
import pytest

import charrnn.scores as scoring
from charrnn import OnnxModel
from charrnn.errors import CorpusError, VocabularyError
from charrnn.runtime.scoring import score
from charrnn.scores import WARM_UP, Scores, score_blocks
from tests.runtime.handmade import CHARACTERS, HandMade

V = len(CHARACTERS)
REFERENCE = HandMade()


def ids_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, V, count).astype(np.uint8)


def one_by_one(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Surprise and guess of each of `ids` but the first, from numpy and the contract alone."""
    weights = REFERENCE.weights
    state, nats, guesses = np.zeros(REFERENCE.H, np.float32), [], []
    for now, after in itertools.pairwise(ids):
        state = np.tanh(state @ weights["W_h0"] + weights["table"][now])
        logits = (state @ weights["W_o"] + weights["b_o"]).astype(np.float64)
        nats.append(np.log(np.exp(logits).sum()) - logits[after])
        guesses.append(logits.argmax())
    return np.array(nats), np.array(guesses)


def scored(model: OnnxModel, pieces: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    blocks = list(score_blocks(model, pieces))
    return tuple(np.concatenate([getattr(block, name) for block in blocks]) for name in ("ids", "nats", "guesses"))


@pytest.mark.parametrize("count", [2, 700, 1025, 3 * 1024 + 3, 12_345])
@pytest.mark.parametrize("block_chars", [2**19, 5000])
def test_equals_reading_one_character_after_the_other(
    model: OnnxModel, monkeypatch: pytest.MonkeyPatch, count: int, block_chars: int
) -> None:
    """Also where the text is several blocks, each of several streams, and a rest that the last one reads on."""
    monkeypatch.setattr(scoring, "BLOCK_CHARS", block_chars)
    ids = ids_of(count)
    nats, guesses = one_by_one(ids)
    read, ours, best = scored(model, [ids])
    np.testing.assert_array_equal(read, ids[1:])
    # Logits of size 10 in float32: 1e-6 each.
    np.testing.assert_allclose(ours, nats, atol=1e-5)
    np.testing.assert_array_equal(best, guesses)
    scores = Scores.of(score_blocks(model, [ids]))
    assert scores.characters == count - 1
    assert scores.loss_nats == pytest.approx(nats.mean(), abs=1e-6)
    assert scores.accuracy == (guesses == ids[1:]).mean()
    assert scores.bpc == pytest.approx(nats.mean() / math.log(2), abs=1e-6)
    assert scores.perplexity == pytest.approx(math.exp(nats.mean()), rel=1e-5)


def test_the_state_forgets_its_start_within_the_warm_up(model: OnnxModel) -> None:
    """What the streams rest on, of these weights."""
    tokens = ids_of(WARM_UP).astype(np.int64)[:, None]
    _, zero = model.read(tokens, model.initial_state(1))
    _, other = model.read(tokens, (np.ones_like(zero[0]),))
    np.testing.assert_allclose(zero[0], other[0], atol=1e-6)


GOLDEN = Path(__file__).parents[1] / "golden" / "python-stdlib.onnx"
"""A model that has learnt: one layer of 64, trained for 3,086 steps of 32 x 100 characters on python-stdlib."""


def test_the_warm_up_is_enough_for_a_model_that_has_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it still remembers after WARM_UP characters changes no score; after 8 it would."""
    model = OnnxModel.load(GOLDEN)
    ids = model.vocabulary.encode(inspect.getsource(argparse), skip_unknown=True)[: 32 * 1024 + 1]
    monkeypatch.setattr(scoring, "MAX_STREAMS", 1)
    exact = Scores.of(score_blocks(model, [ids]))
    assert exact.loss_nats < 2, "it has learnt: a random guess costs ln 222 = 5.4"

    def difference(warm_up: int) -> float:
        monkeypatch.setattr(scoring, "WARM_UP", warm_up)
        monkeypatch.setattr(scoring, "MAX_STREAMS", 32)
        return abs(Scores.of(score_blocks(model, [ids])).loss_nats - exact.loss_nats)

    assert difference(WARM_UP) < 1e-6
    assert difference(8) > 1e-4


def test_how_the_text_is_cut_does_not_show(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BLOCK_CHARS", 3000)
    ids = ids_of(10_000)
    whole = scored(model, [ids])
    cuts = np.sort(np.random.default_rng(1).integers(0, len(ids), 40))
    for pieces in (np.split(ids, cuts), [ids[:1], ids[1:1], ids[1:]], list(ids[:, None])):
        for ours, expected in zip(scored(model, pieces), whole, strict=True):
            np.testing.assert_array_equal(ours, expected)


def test_a_stream_is_scored_block_by_block(model: OnnxModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """An endless text in bounded memory: a block comes out once it has been read, and no more than that is read."""
    monkeypatch.setattr(scoring, "BLOCK_CHARS", 2000)
    read = []

    def endless() -> object:
        for _ in range(1000):
            read.append(None)
            yield ids_of(100)
        pytest.fail("no end of reading")

    blocks = score_blocks(model, endless())
    assert [len(next(blocks).ids) for _ in range(3)] == [2000] * 3
    assert len(read) == 61  # 6001 characters


def test_the_text_is_normalised(tmp_path: Path) -> None:
    normaliser = [{"step": "lowercase"}, {"step": "keep", "characters": "abc ", "replacement": " "}]
    model = OnnxModel.load(HandMade(normaliser=normaliser).save(tmp_path / "model.onnx"))
    assert score(model, "A? Bé-C") == score(model, "a  b  c")


def test_unknown_characters(model: OnnxModel) -> None:
    with pytest.raises(VocabularyError, match=r"'é' .* first at position 2"):
        score(model, "abé")


@pytest.mark.parametrize("text", ["", "a"])
def test_a_text_that_is_too_short(model: OnnxModel, text: str) -> None:
    with pytest.raises(CorpusError, match="fewer than two characters"):
        score(model, text)


def test_perplexity_beyond_float64() -> None:
    assert Scores(loss_nats=708.0, accuracy=0, characters=1).perplexity == math.exp(708)
    assert Scores(loss_nats=1e30, accuracy=0, characters=1).perplexity == math.inf
