"""OnnxModel computes what the file says, and refuses every file that is not to the contract."""

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import charrnn
from charrnn import OnnxModel
from charrnn.errors import ModelFileError
from tests.runtime.handmade import CHARACTERS, HandMade, finish, two_states

B = 5


@pytest.mark.parametrize("L", [1, 2, 3])
def test_step_is_the_numpy_function(tmp_path: Path, L: int) -> None:
    reference = HandMade(L=L)
    model = OnnxModel.load(reference.save(tmp_path / "model.onnx"))
    state = model.initial_state(B)
    expected_state = np.zeros((L, B, reference.H), np.float32)
    for token in np.random.default_rng(1).integers(0, reference.V, (20, B)):
        logits, state = model.step(token, state)
        expected, expected_state = reference.step(token, expected_state)
        assert logits.dtype == np.float32
        # float32, sums of 7 products of order 1, errors that do not grow from step to step
        np.testing.assert_allclose(logits, expected, atol=2e-5)
        np.testing.assert_allclose(state[0], expected_state, atol=2e-5)


def test_attributes_come_from_the_metadata(tmp_path: Path) -> None:
    path = HandMade(L=2, normaliser=[{"step": "lowercase"}]).save(tmp_path / "model.onnx")
    model = OnnxModel.load(str(path))
    assert model.path == path
    assert model.vocabulary.characters == CHARACTERS
    assert model.normaliser("ABC") == "abc"
    assert model.config == {"hidden_size": 7, "num_layers": 2, "vocabulary_size": len(CHARACTERS)}
    assert model.training["test_loss_nats"] == 1.5
    assert len(repr(model)) < 100  # not its weights


def test_a_run_directory_stands_for_its_model(tmp_path: Path) -> None:
    HandMade().save(tmp_path / "model.onnx")
    assert OnnxModel.load(tmp_path).path == tmp_path / "model.onnx"


def test_every_other_input_is_a_state(tmp_path: Path) -> None:
    """An LSTM will have two: nothing depends on their names, number, order or widths."""
    path = tmp_path / "two.onnx"
    path.write_bytes(two_states(len(CHARACTERS), 7, HandMade().metadata()).SerializeToString())
    model = OnnxModel.load(path)
    state = model.initial_state(B)
    assert sorted(part.shape for part in state) == [(1, B, 2), (1, B, 7)]
    for _ in range(3):
        _, state = model.step(np.arange(B), state)
    (cell,) = (part for part in state if part.shape == (1, B, 2))
    np.testing.assert_array_equal(cell, np.full((1, B, 2), 3))


def refusal(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        OnnxModel.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    return message


def refusal_of(proto: onnx.ModelProto, tmp_path: Path) -> str:
    path = tmp_path / "wrong.onnx"
    path.write_bytes(proto.SerializeToString())
    return refusal(path)


def test_a_missing_file(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "missing.onnx")


def test_a_directory_without_a_model(tmp_path: Path) -> None:
    assert f"`charrnn-export {tmp_path}`" in refusal(tmp_path)


@pytest.mark.parametrize("content", [b"hello, this is a text\n" * 9, bytes(1000), b"\x80\x02}q\x00."])
def test_a_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "not an ONNX model" in refusal(path)


def test_an_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    assert "the file is empty" in refusal(path)  # the name of the path has "empty", too


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file(tmp_path: Path, share: float) -> None:
    path = HandMade().save(tmp_path / "model.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refusal(path)


def test_an_onnx_file_that_is_not_ours(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    message = refusal_of(finish(helper.make_graph([node], "g", [x], [y]), {}), tmp_path)
    assert "no charrnn model" in message
    assert "charrnn-export" in message


def test_our_metadata_on_another_graph(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in "xy")
    message = refusal_of(finish(helper.make_graph([node], "g", [x], [y]), HandMade().metadata()), tmp_path)
    assert "inputs 'x'; outputs 'y'; expected token, state; logits, next_state" in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("charrnn.format_version", "2", "format version 2 and this charrnn reads 1: install a newer charrnn"),
        ("charrnn.format_version", "0", "format version 0"),
        ("charrnn.format_version", "one", "charrnn.format_version is not a JSON integer: 'one'"),
        ("charrnn.format_version", "true", "charrnn.format_version is not a JSON integer"),
        ("charrnn.vocabulary", "{", "vocabulary"),
        ("charrnn.vocabulary", '{"format": "charrnn.vocabulary", "version": 1, "characters": "ba"}', "sorted"),
        ("charrnn.vocabulary", '{"format": "charrnn.vocabulary", "version": 1, "characters": "abc"}', "has 3"),
        ("charrnn.normaliser", "{}", "charrnn.normaliser is not a JSON array"),
        ("charrnn.normaliser", '[{"step": "shout"}]', "'shout'"),
        ("charrnn.model", "[" * 100_000, "charrnn.model is not a JSON object"),
        ("charrnn.training", "null", "charrnn.training is not a JSON object"),
    ],
)
def test_wrong_metadata(tmp_path: Path, key: str, value: str, expected: str) -> None:
    proto = HandMade().proto()
    helper.set_model_props(proto, HandMade().metadata() | {key: value})
    assert expected in refusal_of(proto, tmp_path)


@pytest.mark.parametrize("key", sorted(HandMade().metadata()))
def test_missing_metadata(tmp_path: Path, key: str) -> None:
    proto = HandMade().proto()
    metadata = HandMade().metadata()
    del metadata[key]
    helper.set_model_props(proto, metadata)
    assert f"no {key}" in refusal_of(proto, tmp_path)


@pytest.mark.parametrize(
    ("text", "damaged"),
    [
        (b"test_loss_nats", b"test_\xff\xfe_nats\x00\x00"),  # metadata
        (b"batch", b"b\xfftch"),  # a dimension's name, which onnxruntime itself accepts
        (b"Unsqueeze", b"Uns\xffueeze"),  # an operator, of which onnxruntime would speak on stdout
    ],
)
def test_text_that_is_not_utf8(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], text: bytes, damaged: bytes
) -> None:
    content = HandMade().proto().SerializeToString()
    assert text in content
    path = tmp_path / "wrong.onnx"
    path.write_bytes(content.replace(text, damaged[: len(text)]))
    refusal(path)
    assert capfdbinary.readouterr() == (b"", b"")


@pytest.mark.parametrize("characters", ["abc", CHARACTERS + "lmn"])
def test_a_vocabulary_of_another_size(tmp_path: Path, characters: str) -> None:
    proto = HandMade().proto()
    (table,) = (tensor for tensor in proto.graph.initializer if tensor.name == "table")
    table.CopyFrom(numpy_helper.from_array(np.zeros((99, 7), np.float32), "table"))  # it can read more than it scores
    helper.set_model_props(proto, HandMade(characters=characters).metadata())
    expected = f"scores {len(CHARACTERS)} characters and its vocabulary has {len(characters)}"
    assert expected in refusal_of(proto, tmp_path)


@pytest.mark.parametrize("field", ["ir_version", "opset"])
def test_a_file_for_a_newer_onnxruntime(tmp_path: Path, field: str) -> None:
    proto = HandMade().proto()
    if field == "opset":
        proto.opset_import[0].version = 999
    else:
        proto.ir_version = 999
    assert "it needs a newer onnxruntime than" in refusal_of(proto, tmp_path)


def test_weights_in_a_second_file(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(HandMade().proto(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    assert (tmp_path / "weights.bin").is_file()
    assert "second file" in refusal(path)


@pytest.mark.parametrize("token_shape", [[1], ["batch", 1], []])
def test_a_token_of_another_shape(tmp_path: Path, token_shape: list[int | str]) -> None:
    proto = HandMade().proto()
    proto.graph.input[0].CopyFrom(helper.make_tensor_value_info("token", TensorProto.INT64, token_shape))
    assert "its input token is" in refusal_of(proto, tmp_path)


@pytest.mark.parametrize("state_shape", [["layers", "batch", 7], [1, 1, 7], [1, "batch", 8], ["batch", 7], [9, "b", 7]])
def test_a_state_of_another_shape(tmp_path: Path, state_shape: list[int | str]) -> None:
    proto = HandMade().proto()
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("state", TensorProto.FLOAT, state_shape))
    refusal_of(proto, tmp_path)


def test_a_state_of_another_type(tmp_path: Path) -> None:
    """Wrapped in casts, so that onnxruntime itself has nothing against it."""
    proto = HandMade().proto()
    for node in proto.graph.node:
        node.input[:] = ["state32" if name == "state" else name for name in node.input]
    proto.graph.node.insert(0, helper.make_node("Cast", ["state"], ["state32"], to=TensorProto.FLOAT))
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("state", TensorProto.DOUBLE, [1, "batch", 7]))
    assert "input 'state' is tensor(double)" in refusal_of(proto, tmp_path)


def test_a_batch_that_is_baked_in(tmp_path: Path) -> None:
    """The declared shape says `batch`, the graph says 1: only a step of more than one row tells."""
    proto = HandMade().proto()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, len(CHARACTERS)]), "one_row"))
    proto.graph.node[-1].output[0] = "any_rows"
    proto.graph.node.append(helper.make_node("Reshape", ["any_rows", "one_row"], ["logits"]))
    assert "cannot be run" in refusal_of(proto, tmp_path)


def test_weights_that_are_not_numbers(tmp_path: Path) -> None:
    proto = HandMade().proto()
    (bias,) = (tensor for tensor in proto.graph.initializer if tensor.name == "b_o")
    bias.CopyFrom(numpy_helper.from_array(np.full(len(CHARACTERS), np.nan, np.float32), "b_o"))
    assert "not finite" in refusal_of(proto, tmp_path)


def test_the_package_exports_the_sampler() -> None:
    assert charrnn.OnnxModel is OnnxModel
    assert charrnn.generate is charrnn.runtime.generate


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.touch()
    os.truncate(path, 2**31)
    assert f"it has {2**31} bytes and an ONNX file at most {2**31 - 1}" in refusal(path)
