"""Whatever a file holds, loading it ends in a model or in one line: no traceback, no crash, no hang, bounded memory.

`test_onnx_model.py` has the ways that one can name; here they are drawn at random, from fixed seeds, and tried in
processes of their own, for onnxruntime is C++ and could take this one down.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from charrnn.errors import ModelFileError
from charrnn.export.weights import Weights, store
from charrnn.runtime import ModelMetadata
from tests.runtime.handmade import HandMade

ROOT = Path(__file__).parents[2]
FORMS: tuple[Weights, ...] = ("float32", "float16", "int8", "int4")
Damage = Callable[[bytes, np.random.Generator], bytes]


def proto_of(weights: Weights) -> onnx.ModelProto:
    """A model of two layers, H = 19, its weights stored so."""
    proto = HandMade(L=2, H=19).proto()
    store(proto, weights)
    return proto


def verdicts(files: list[Path]) -> dict[Path, str]:
    """What loading each file said (see load_many.said). Fails where it ended the process, naming the file."""
    said: dict[Path, str] = {}
    command = [sys.executable, "-m", "tests.runtime.load_many", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=250, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for begun, ended in zip(lines[0::2], [*lines[1::2], {}], strict=False):
        assert "said" in ended, f"{begun['file']} ended its process with {done.returncode}: {done.stderr[-300:]}"
        said[Path(begun["file"])] = ended["said"]
    assert (done.returncode, done.stderr, list(said)) == (0, "", files)
    return said


def check(files: list[Path], *, may_load: bool = True) -> dict[Path, str]:
    """Every file is loaded or refused in one line that names it."""
    said = verdicts(files)
    for file, message in said.items():
        if message or not may_load:
            assert message.startswith(f"ModelFileError: {file}: "), f"{file}: {message!r}"
            assert "\n" not in message
            assert len(message) < 1000
    return said


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    return content[: rng.integers(1, len(content))]


def flip_bits(content: bytes, rng: np.random.Generator) -> bytes:
    damaged = bytearray(content)
    for place in rng.integers(0, len(content), rng.choice([1, 1, 1, 5, 40])):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def flip_bits_outside_of_weights(content: bytes, rng: np.random.Generator) -> bytes:
    """Where numbers of the file itself stand: lengths, dimensions, types, names."""
    proto = onnx.ModelProto.FromString(content)
    weights = [tensor.raw_data for tensor in proto.graph.initializer if len(tensor.raw_data) > 16]
    inside = np.zeros(len(content), bool)
    for data in weights:
        inside[content.index(data) : content.index(data) + len(data)] = True
    damaged = bytearray(content)
    for place in rng.choice(np.flatnonzero(~inside), rng.choice([1, 2])):
        damaged[place] ^= 1 << rng.integers(8)
    return bytes(damaged)


def overwrite(content: bytes, rng: np.random.Generator) -> bytes:
    """A stretch of zeros, ones or noise, as a bad disk leaves it."""
    start, length = rng.integers(0, len(content)), rng.integers(1, 600)
    noise = [bytes(length), b"\xff" * length, rng.bytes(length)][rng.integers(3)]
    return content[:start] + noise[: len(content) - start] + content[start + length :]


def cut_out_or_double(content: bytes, rng: np.random.Generator) -> bytes:
    start, stop = sorted(rng.integers(0, len(content), 2))
    return content[:start] + content[stop:] if rng.integers(2) else content[:stop] + content[start:]


def another_number(content: bytes, rng: np.random.Generator) -> bytes:
    """A well-formed file in which one number says something else: a dimension, a type, an attribute, a version."""
    proto = onnx.ModelProto.FromString(content)
    value = int(rng.choice([-(2**63), -1, 0, 1, 2, 3, 7, 15, 2**16, 2**31 - 1, 2**31, 2**40, 2**62, 2**63 - 1]))
    places = list(_numbers(proto))
    places[rng.integers(len(places))](value)
    return proto.SerializeToString()


def _numbers(proto: onnx.ModelProto) -> Iterator[Callable[[int], None]]:
    """A setter for every number in the file; protobuf refuses what does not fit a field of 32 bits."""

    def setter(message: object, name: str, bits: int = 64) -> Callable[[int], None]:
        return lambda value: setattr(message, name, max(-(2 ** (bits - 1)), min(value, 2 ** (bits - 1) - 1)))

    yield setter(proto, "ir_version")
    yield from (setter(entry, "version") for entry in proto.opset_import)
    for tensor in proto.graph.initializer:
        yield setter(tensor, "data_type", 32)
        for axis in range(len(tensor.dims)):
            yield lambda value, tensor=tensor, axis=axis: tensor.dims.__setitem__(axis, value)
    for value_info in [*proto.graph.input, *proto.graph.output]:
        yield setter(value_info.type.tensor_type, "elem_type", 32)
        for dimension in value_info.type.tensor_type.shape.dim:
            yield setter(dimension, "dim_value")
    for node in proto.graph.node:
        for attribute in node.attribute:
            yield setter(attribute, "i")


def rewire(content: bytes, rng: np.random.Generator) -> bytes:
    """A node reads or writes something else, or is another operator, or is gone."""
    proto = onnx.ModelProto.FromString(content)
    nodes = proto.graph.node
    node = nodes[rng.integers(len(nodes))]
    names = sorted({name for other in nodes for name in [*other.input, *other.output]} | {""})
    kind = rng.integers(4)
    if kind == 0:
        node.input[rng.integers(len(node.input))] = names[rng.integers(len(names))]
    elif kind == 1:
        node.output[0] = names[rng.integers(len(names))]
    elif kind == 2:
        node.op_type = ["Loop", "Scan", "If", "Tanh", "Shape", "ConstantOfShape", "Expand", "RNN"][rng.integers(8)]
    else:
        nodes.remove(node)
    return proto.SerializeToString()


@pytest.mark.parametrize("weights", FORMS)
@pytest.mark.parametrize(
    ("damage", "count"),
    [
        (truncate, 25),
        (flip_bits, 40),
        (flip_bits_outside_of_weights, 60),
        (overwrite, 25),
        (cut_out_or_double, 25),
        (another_number, 60),
        (rewire, 40),
    ],
)
def test_damage(tmp_path: Path, damage: Damage, count: int, weights: Weights) -> None:
    """1,100 files in all. Some still load: a weight's bit says nothing, and metadata are free in part."""
    content = proto_of(weights).SerializeToString()
    rng = np.random.default_rng([count, FORMS.index(weights)])
    files = []
    for number in range(count):
        files.append(tmp_path / f"{damage.__name__}-{number}.onnx")
        files[-1].write_bytes(damage(content, rng))
    said = check(files, may_load=damage is not truncate)
    assert any(said.values()), "no file was damaged enough to be refused"


def test_the_undamaged_load(tmp_path: Path) -> None:
    """Otherwise the test above could not fail."""
    files = [tmp_path / f"{weights}.onnx" for weights in FORMS]
    for file, weights in zip(files, FORMS, strict=True):
        file.write_bytes(proto_of(weights).SerializeToString())
    assert set(verdicts(files).values()) == {""}


def test_foreign_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    contents = [rng.bytes(size) for size in (1, 2, 3, 10, 100, 10_000, 1_000_000)]
    contents += [
        start + rng.bytes(5000) for start in (b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"\x1f\x8b\x08", b"\x7fELF")
    ]
    contents += [b"\x08\x08" * 5000, b"\x3a\xff\xff\xff\xff\x07", b"\x0b" * 100_000, b"{}", "é\n".encode("utf-16")]
    contents += [b"ORTM" * 1000, b"\x18\x00\x00\x00ORTM" + rng.bytes(3000), b"TFL3" + bytes(100)]
    files = [tmp_path / f"{number}.onnx" for number in range(len(contents))]
    for file, content in zip(files, contents, strict=True):
        file.write_bytes(content)
    check(files, may_load=False)


def test_devices_and_pipes_are_not_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.onnx"
    os.mkfifo(pipe)
    check([Path("/dev/zero"), Path("/dev/null"), pipe, tmp_path / "missing.onnx"], may_load=False)


@pytest.mark.parametrize("weights", ["float32", "int8"])
@pytest.mark.parametrize(
    "location", ["{outside}", "../outside.bin", "pipe", "link", "/dev/zero", "", ".", "https://127.0.0.1:9/x", "x\x00y"]
)
def test_no_other_file_is_ever_opened(tmp_path: Path, location: str, weights: Weights) -> None:
    """Weights in a second file, named by every kind of path: to open the pipe would be to wait for ever."""
    folder = tmp_path / "folder"
    folder.mkdir()
    outside = tmp_path / "outside.bin"
    outside.write_bytes(bytes(100_000))
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to(outside)
    proto = proto_of(weights)
    tensor = next(tensor for tensor in proto.graph.initializer if tensor.name.startswith("W_h1"))
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", location.format(outside=outside)), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    file = folder / "model.onnx"
    file.write_bytes(proto.SerializeToString())
    check([file], may_load=False)


def wide_state(H: int) -> onnx.ModelProto:
    """A graph whose declared state has H numbers, which it never uses."""
    proto = HandMade().proto()
    proto.graph.input[1].CopyFrom(helper.make_tensor_value_info("state", onnx.TensorProto.FLOAT, [1, "batch", H]))
    return proto


def swollen(numbers: int) -> onnx.ModelProto:
    """A graph that asks for so many numbers when it is loaded, or run: a few bytes of file."""
    proto = HandMade().proto()
    proto.graph.initializer.append(numpy_helper.from_array(np.array([numbers]), "how_many"))
    proto.graph.node.insert(0, helper.make_node("ConstantOfShape", ["how_many"], ["many"]))
    proto.graph.node.insert(1, helper.make_node("ReduceSum", ["many"], ["none"], keepdims=0))
    proto.graph.node[-1].output[0] = "scores_before"
    proto.graph.node.append(helper.make_node("Add", ["scores_before", "none"], ["logits"]))
    return proto


@pytest.mark.parametrize("numbers", [10**10, 10**12, 2**61])
@pytest.mark.parametrize("make", [wide_state, swollen])
def test_memory_has_a_bound(tmp_path: Path, make: Callable[[int], onnx.ModelProto], numbers: int) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(make(numbers).SerializeToString())
    check([file], may_load=False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
VALUES = st.text(max_size=30) | JSON.map(json.dumps)
KEYS = sorted(HandMade().metadata())
STEPS = st.fixed_dictionaries(
    {"step": st.sampled_from(["lowercase", "keep", "lf", "nfc", "shout"])},
    optional={"characters": JSON, "replacement": JSON, "more": JSON},
)
VOCABULARIES = st.fixed_dictionaries(
    {"format": st.just("charrnn.vocabulary") | JSON, "version": st.just(1) | JSON, "characters": st.text() | JSON}
)


@given(
    st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=9), VALUES, max_size=3)
    | st.fixed_dictionaries({"charrnn.normaliser": st.lists(STEPS, max_size=3).map(json.dumps)})
    | st.fixed_dictionaries({"charrnn.vocabulary": VOCABULARIES.map(json.dumps)})
)
def test_metadata_are_read_or_refused_in_one_line(changes: dict[str, str]) -> None:
    message = "read"
    try:
        metadata = ModelMetadata.from_properties(HandMade().metadata() | changes)
        assert len(metadata.vocabulary) >= 1
        assert isinstance(metadata.normaliser("A\n"), str)
    except ModelFileError as error:
        message = str(error)
    assert len(message.splitlines()) == 1
    assert len(message) < 1000
