"""A trace has the states of the model after each character: torch's, and those of driving the file step by step."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

import charrnn
import charrnn.runtime.tracing as tracing
from charrnn.errors import VocabularyError
from charrnn.export import Weights, export_onnx
from charrnn.model import CharRNN, ModelConfig
from charrnn.runtime import OnnxModel
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from tests.runtime.handmade import CHARACTERS, HandMade, two_states

VOCABULARY = Vocabulary("\n abcdefgh")
H = 13
TEXT = "".join(np.random.default_rng(4).choice(list(VOCABULARY.characters), 150))
GOLDEN = Path(__file__).parents[1] / "golden"


def exported(path: Path, cell: str, L: int, weights: Weights = "float32") -> tuple[CharRNN, OnnxModel]:
    torch.manual_seed(5)
    config = ModelConfig(
        vocabulary_size=len(VOCABULARY),
        embedding_size=7,
        hidden_size=H,
        num_layers=L,
        cell=cell,
        recurrence="reference",
    )
    model = CharRNN(config).eval()
    export_onnx(
        model, path, vocabulary=VOCABULARY, normaliser=Normaliser(), training={}, weights=weights
    )  # fmt: skip
    return model, charrnn.load(path)


def by_torch(model: CharRNN, ids: np.ndarray) -> dict[str, np.ndarray]:
    """The states after each of `ids`, a character at a time."""
    states, after = None, []
    with torch.no_grad():
        for token in torch.from_numpy(ids.astype(np.int64)):
            _, states = model(token.reshape(1, 1), states)
            after.append(states)
    kinds = zip(*after, strict=True)
    return {name: torch.stack(kind)[:, :, 0].numpy() for name, kind in zip(model.cell.states, kinds, strict=True)}


def by_steps(model: OnnxModel, text: str) -> dict[str, np.ndarray]:
    """The same from the graph in the file, a call for each character."""
    state, after = model.initial_state(1), []
    for token in model.vocabulary.encode(text).astype(np.int64):
        _, state = model.step(token.reshape(1), state)
        after.append(state)
    kinds = zip(*after, strict=True)
    return {name: np.stack(kind)[:, :, 0] for name, kind in zip(model.state_sizes, kinds, strict=True)}


@pytest.mark.parametrize(("cell", "names"), [("tanh", ["state"]), ("gru", ["state"]), ("lstm", ["cell", "state"])])
@pytest.mark.parametrize("L", [1, 3])
def test_the_states_are_those_of_torch_and_of_single_steps(tmp_path: Path, cell: str, names: list[str], L: int) -> None:
    model, loaded = exported(tmp_path / "model.onnx", cell, L)
    trace = loaded.trace(TEXT)
    assert sorted(trace) == names
    expected, stepped = by_torch(model, loaded.vocabulary.encode(TEXT)), by_steps(loaded, TEXT)
    assert sorted(expected) == names
    for name, part in trace.items():
        assert part.shape == (150, L, H)
        assert part.dtype == np.float32
        # Sums of a few dozen float32 products of order 1 in another order, the errors of which die out.
        np.testing.assert_allclose(part, expected[name], atol=5e-6, rtol=0)
        np.testing.assert_allclose(part, stepped[name], atol=5e-6, rtol=0)
    assert loaded._scans._scans["trace"] is not None, "many characters a call"


@pytest.mark.parametrize("weights", ["float16", "int8", "int4"])
def test_smaller_files(tmp_path: Path, weights: Weights) -> None:
    """Not torch's states: those of the file. An int8 file rounds a state to 1/64, which may turn out otherwise."""
    _, loaded = exported(tmp_path / "model.onnx", "lstm", 2, weights)
    trace, stepped = loaded.trace(TEXT), by_steps(loaded, TEXT)
    for name, part in trace.items():
        np.testing.assert_allclose(part, stepped[name], atol=5e-6 if weights == "float16" else 0.02, rtol=0)
        assert part.std() > 0.02, "the tolerance tells states apart"


@pytest.mark.parametrize("path", [GOLDEN / "python-stdlib.onnx", *sorted(GOLDEN.glob("run-0.1.0/*/run/model.onnx"))])
def test_files_of_earlier_versions(path: Path) -> None:
    """Those of 0.1.0 do not name the layers inside the graph, so whole states are collected."""
    model = charrnn.load(path)
    text = "".join(np.random.default_rng(1).choice(list(model.vocabulary.characters), 90))
    trace, stepped = model.trace(text), by_steps(model, text)
    np.testing.assert_allclose(trace["state"], stepped["state"], atol=2e-5, rtol=0)
    assert model._scans._scans["trace"] is not None


@pytest.mark.parametrize("numbers", [1, 7 * 100, 7 * 149])
def test_where_the_text_is_cut_does_not_matter(model: OnnxModel, monkeypatch: pytest.MonkeyPatch, numbers: int) -> None:
    """Blocks of 64 characters, which is the least, of 100, and a last one of a single character."""
    text = "".join(np.random.default_rng(2).choice(list(CHARACTERS), 150))
    whole = model.trace(text)["state"]
    monkeypatch.setattr(tracing, "_BLOCK_NUMBERS", numbers)
    blocks = [block["state"] for block in model.trace_blocks(text)]
    assert [len(block) for block in blocks] == {1: [64, 64, 22], 700: [100, 50], 1043: [149, 1]}[numbers]
    # The rest is read step by step, the same sums in another order.
    np.testing.assert_allclose(np.concatenate(blocks), whole, atol=2e-6, rtol=0)
    np.testing.assert_allclose(model.trace(text)["state"], whole, atol=2e-6, rtol=0)


def test_blocks_are_bounded_and_the_state_goes_on(tmp_path: Path) -> None:
    """Of a model whose `cell` counts the characters, and which has another width than `state`."""
    metadata = HandMade().metadata()
    path = tmp_path / "model.onnx"
    onnx.save(two_states(len(CHARACTERS), 90, metadata), path)
    blocks = list(charrnn.load(path).trace_blocks("ab" * 15_000))
    assert [sum(part.size for part in block.values()) <= 2**20 for block in blocks] == [True] * 3
    counted = np.concatenate([block["cell"] for block in blocks])
    np.testing.assert_array_equal(counted[:, 0, 1], np.arange(1, 30_001))
    assert counted.shape == (30_000, 1, 2)


@pytest.mark.parametrize("text", ["", "a"])
def test_short_texts(model: OnnxModel, text: str) -> None:
    trace = model.trace(text)
    assert trace["state"].shape == (len(text), 1, 7)
    assert len(list(model.trace_blocks(text))) == len(text)


@pytest.mark.parametrize("size", [1, 3, 64, 149, 1000])
def test_a_text_may_come_in_pieces(model: OnnxModel, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(tracing, "_BLOCK_NUMBERS", 7 * 70)
    text = "".join(np.random.default_rng(2).choice(list(CHARACTERS), 150))
    pieces = [text[i : i + size] for i in range(0, len(text), size)]
    blocks = [block["state"] for block in model.trace_blocks(iter(["", *pieces, ""]))]
    assert [len(block) for block in blocks] == [70, 70, 10]
    np.testing.assert_array_equal(np.concatenate(blocks), model.trace(text)["state"])


def test_the_text_is_normalised_and_what_the_model_lacks_is_refused(tmp_path: Path) -> None:
    """In pieces, too: the position is that in the whole text."""
    normaliser = [{"step": "lf"}, {"step": "lowercase"}]
    model = charrnn.load(HandMade(normaliser=normaliser).save(tmp_path / "model.onnx"))
    expected = model.trace("ab\nba")["state"]
    np.testing.assert_array_equal(model.trace("AB\r\nBA")["state"], expected)
    (block,) = model.trace_blocks(["AB\r", "\nBA"])
    np.testing.assert_array_equal(block["state"], expected)
    with pytest.raises(VocabularyError, match=r"'z' \(U\+007A\), first at position 1"):
        model.trace("AZ")
    for text in ("a" * 99_999 + "Z", ["a" * 99_999, "Z"]):
        with pytest.raises(VocabularyError, match=r"'z' \(U\+007A\), first at position 99999"):
            list(model.trace_blocks(text))
