"""Many characters a call are the same characters as one at a time."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import charrnn
from charrnn import OnnxModel
from charrnn.errors import CharRNNError
from charrnn.export.weights import Weights, store
from charrnn.runtime import Sampler, SamplingConfig, StepModel, TextState
from tests.runtime.handmade import CHARACTERS, HandMade, two_states

SETTINGS: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 0, "top_k": 3},
    {"temperature": 0.8},
    {"temperature": 0.8, "top_k": 5},
    {"temperature": 1.3, "top_p": 0.7},
    {"temperature": 0.6, "top_k": 9, "top_p": 0.95},
    {"top_k": 1},
    {"top_k": 10**30},
    {"top_p": 1e-300},
    {"temperature": 5e-324, "top_p": 0.9},
    {"temperature": 1.7e308, "top_p": 0.9},
]


def write_both(model: OnnxModel, config: SamplingConfig, seed: int, B: int, T: int) -> tuple[np.ndarray, np.ndarray]:
    """Ids [T, B] that the model writes by Scan, and those that it writes a step at a time."""
    text = TextState(model.initial_state(1), np.array([[4], [2]]))
    by_scan, after = model.write(text, Sampler(config, seed, B), T)
    # The base class's own way, with the same noise.
    _, memory = model.step(text.unread[0], text.memory)
    start = TextState(memory, text.unread[1:]).rows(B)
    noise = Sampler(config, seed, B).noise(T, len(model.vocabulary))
    by_step, memory = StepModel._write_chunk(model, start.unread[0], start.memory, noise, config)
    for ours, theirs in zip(after.memory, memory, strict=True):
        # float32, sums of a few dozen products of order 1, the errors of which die out
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
    np.testing.assert_array_equal(after.unread, by_scan[-1:])
    return by_scan, by_step


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize(("L", "B"), [(1, 1), (1, 5), (2, 1), (3, 4)])
def test_the_same_text_for_a_seed(tmp_path: Path, settings: dict[str, Any], L: int, B: int) -> None:
    model = charrnn.load(HandMade(L=L, H=19).save(tmp_path / "model.onnx"))
    for seed in range(4):
        by_scan, by_step = write_both(model, SamplingConfig(**settings), seed, B, 150)
        np.testing.assert_array_equal(by_scan, by_step)
    assert len([scan for scan in model._scans._scans.values() if scan]) == 1
    assert model._scans._step.by_layer


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_among_equals(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Weights of zero: all logits are equal, so which are left, and which is first, is a matter of the rule alone."""
    proto = HandMade().proto()
    for tensor in proto.graph.initializer:
        if tensor.name in ("W_o", "b_o"):
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(numpy_helper.to_array(tensor)), tensor.name))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    by_scan, by_step = write_both(charrnn.load(path), SamplingConfig(**settings), 3, 4, 50)
    np.testing.assert_array_equal(by_scan, by_step)


def test_large_weights_stand_around_the_body(tmp_path: Path) -> None:
    model = charrnn.load(HandMade(H=230).save(tmp_path / "model.onnx"))
    by_scan, by_step = write_both(model, SamplingConfig(), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert len(model._scans._step.outer_weights) == 1


def test_weights_that_are_cast_stay_inside(tmp_path: Path) -> None:
    """A file of float16 weights: around the body they would be cast again for every character."""
    reference = HandMade(H=330)
    proto = reference.proto()
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == "W_h0")
    half = numpy_helper.to_array(tensor).astype(np.float16)
    tensor.CopyFrom(numpy_helper.from_array(half, "half"))
    proto.graph.node.insert(0, helper.make_node("Cast", ["half"], ["W_h0"], to=TensorProto.FLOAT))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    assert half.nbytes > 200_000
    model = charrnn.load(path)
    by_scan, by_step = write_both(model, SamplingConfig(), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert model._scans._step.outer_weights == []


def test_states_of_another_form(tmp_path: Path) -> None:
    """Two states, which no node takes apart, are carried as they are."""
    path = tmp_path / "two.onnx"
    path.write_bytes(two_states(len(CHARACTERS), 7, HandMade().metadata()).SerializeToString())
    model = charrnn.load(path)
    by_scan, by_step = write_both(model, SamplingConfig(temperature=0.9, top_p=0.9), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert not model._scans._step.by_layer


@pytest.mark.parametrize("opset", [13, 17, 21])
def test_files_of_other_opsets(tmp_path: Path, opset: int) -> None:
    proto = HandMade(L=2).proto()
    proto.opset_import[0].version = opset
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    model = charrnn.load(path)
    by_scan, by_step = write_both(model, SamplingConfig(top_k=7, top_p=0.9), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert list(model._scans._scans.values()) != [None]


@pytest.mark.parametrize("weights", ["float16", "int8", "int4"])
def test_weights_in_fewer_bytes(tmp_path: Path, weights: Weights) -> None:
    proto = HandMade(L=2, H=40).proto()
    store(proto, weights)
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    model = charrnn.load(path)
    by_scan, by_step = write_both(model, SamplingConfig(), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert model._scans._step.by_layer
    assert list(model._scans._scans.values()) != [None]


def test_a_graph_that_no_scan_can_hold_is_stepped(tmp_path: Path) -> None:
    """A value has the name of one that choosing adds."""
    proto = HandMade().proto()
    renamed = {"scores": "choice/sums"}
    for node in proto.graph.node:
        for names in (node.input, node.output):
            names[:] = [renamed.get(name, name) for name in names]
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    model = charrnn.load(path)
    assert "".join(model.stream("abc", temperature=0, length=60)) == HandMade().greedy("abc", 60)[3:]
    assert model._scans._scans == {"all": None}


@pytest.mark.parametrize("L", [1, 2])
@pytest.mark.parametrize("T", [1, 63, 64, 200])
def test_reading_is_stepping(tmp_path: Path, L: int, T: int) -> None:
    B, reference = 3, HandMade(L=L)
    model = charrnn.load(reference.save(tmp_path / "model.onnx"))
    tokens = np.random.default_rng(4).integers(0, reference.V, (T, B))
    logits, (state,) = model.read(tokens, model.initial_state(B))
    expected_state = np.zeros((L, B, reference.H), np.float32)
    for token, row in zip(tokens, logits, strict=True):
        expected, expected_state = reference.step(token, expected_state)
        # float32, sums of 7 products of order 1, errors that do not grow from step to step
        np.testing.assert_allclose(row, expected, atol=2e-5)
    np.testing.assert_allclose(state, expected_state, atol=2e-5)


@pytest.mark.parametrize("length", [1, 2, 64, 65, 1024, 1025, 3000])
def test_a_long_prompt(model: OnnxModel, length: int) -> None:
    """Read in blocks; the text goes on as if it had been read a character at a time."""
    prompt = "".join(np.random.default_rng(5).choice(list(CHARACTERS), length))
    assert "".join(model.stream(prompt, temperature=0, length=20)) == HandMade().greedy(prompt, 20)[length:]


def test_damaged_files_are_refused_or_written_from(tmp_path: Path) -> None:
    """A bit here and there: never an exception but ours, whatever the graph has become."""
    content = HandMade(L=2).proto().SerializeToString()
    rng, outcomes = np.random.default_rng(6), set()
    for _ in range(150):
        damaged = bytearray(content)
        damaged[rng.integers(len(content))] ^= 1 << rng.integers(8)
        path = tmp_path / "model.onnx"
        path.write_bytes(damaged)
        try:
            model = charrnn.load(path)
            "".join(itertools.islice(model.stream("abc", seed=1, top_p=0.9), 40))
            model.read(np.zeros((70, 1), np.int64), model.initial_state(1))
        except CharRNNError as error:
            outcomes.add(f"refused in {len(str(error).splitlines())} line")
        else:
            outcomes.add("written")
    assert outcomes == {"written", "refused in 1 line"}


def test_the_last_noise_is_drawn_for_what_is_left(model: OnnxModel) -> None:
    ids, _ = model.write(TextState(model.initial_state(1), np.array([[4]])), Sampler(SamplingConfig(), 1, 64), 100)
    assert ids.shape == (100, 64)
    assert 2**16 // (64 * len(CHARACTERS)) == 73, "not all at once"


def test_a_large_vocabulary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise and logits are bounded in memory: with V=70,000 noise is drawn, and a text is read, a little at a time."""
    characters = "".join(map(chr, itertools.chain(range(0x20, 0xD800), range(0xE000, 0x14000))))[:70_000]
    metadata = HandMade().metadata()
    vocabulary = {"format": "charrnn.vocabulary", "version": 1, "characters": characters}
    metadata["charrnn.vocabulary"] = json.dumps(vocabulary)
    proto: onnx.ModelProto = two_states(len(characters), 5, metadata)
    assert proto.graph.output[2].type.tensor_type.elem_type == TensorProto.FLOAT
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    drawn, read = [], []
    noise, read_on = Sampler.noise, OnnxModel.read
    monkeypatch.setattr(Sampler, "noise", lambda *args: drawn.append(noise(*args)) or drawn[-1])
    monkeypatch.setattr(OnnxModel, "read", lambda *args: read.append(args[1]) or read_on(*args))
    text = charrnn.load(path).stream("abc" * 700, seed=1)
    assert len("".join(itertools.islice(text, 10))) == 10
    assert {numbers.shape for numbers in drawn} == {(1, 1, 70_000)}
    assert sum(map(len, read)) == 2099
    assert {len(tokens) for tokens in read} == {128, 2099 % 1024}


def test_sparse_weights_are_part_of_the_body(tmp_path: Path) -> None:
    proto = HandMade().proto()
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == "W_o")
    dense = numpy_helper.to_array(tensor).copy()
    proto.graph.initializer.remove(tensor)
    dense[::2] = 0
    values = numpy_helper.from_array(dense[dense != 0], "W_o")
    places = numpy_helper.from_array(np.flatnonzero(dense), "places")
    proto.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, dense.shape))
    path = tmp_path / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    model = charrnn.load(path)
    by_scan, by_step = write_both(model, SamplingConfig(), 1, 3, 100)
    np.testing.assert_array_equal(by_scan, by_step)
    assert list(model._scans._scans.values()) != [None]


def test_a_file_of_0_1_0_passes_whole_states() -> None:
    """Its layers have no names that say what they are."""
    model = charrnn.load(Path(__file__).parents[1] / "golden" / "run-0.1.0" / "stream" / "run")
    by_scan, by_step = write_both(model, SamplingConfig(temperature=0.8), 1, 3, 200)
    np.testing.assert_array_equal(by_scan, by_step)
    assert list(model._scans._scans.values()) != [None]
    assert not model._scans._step.by_layer
