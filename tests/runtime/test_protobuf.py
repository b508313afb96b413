"""The wire format, beside Google's own writer, and on bytes that are no message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from charrnn.errors import ModelFileError
from charrnn.runtime.protobuf import read_fields, write_message
from tests.runtime.handmade import HandMade


def test_a_model_is_its_fields() -> None:
    proto = HandMade(L=2).proto()
    content = proto.SerializeToString()
    fields = list(read_fields(memoryview(content)))
    assert b"".join(field.whole for field in fields) == content
    (graph,) = (field.content for field in fields if field.number == 7)
    assert graph == proto.graph.SerializeToString()
    nodes = [field.content for field in read_fields(graph) if field.number == 1]
    assert nodes == [node.SerializeToString() for node in proto.graph.node]


def test_a_message_is_written_as_google_writes_it() -> None:
    """A ValueInfoProto: name 1, type 2; its tensor type 1: element type 1, shape 2; dimensions 1: value 1, name 2."""
    expected = helper.make_tensor_value_info("naïve", TensorProto.DOUBLE, [127, "batch", 2**31])
    dims = [write_message((1, 127)), write_message((2, "batch")), write_message((1, 2**31))]
    tensor_type = write_message((1, TensorProto.DOUBLE), (2, write_message(*((1, dim) for dim in dims))))
    message = write_message((1, "naïve"), (2, write_message((1, tensor_type))))
    assert b"".join(message) == expected.SerializeToString()


@given(st.lists(st.tuples(st.integers(1, 2**29 - 1), st.one_of(st.integers(0, 2**63), st.text(), st.binary()))))
def test_what_is_written_is_read(fields: list[tuple[int, int | str | bytes]]) -> None:
    read = list(read_fields(memoryview(b"".join(write_message(*fields)))))
    assert [field.number for field in read] == [number for number, _ in fields]
    for field, (_, value) in zip(read, fields, strict=True):
        if isinstance(value, int):
            assert sum((byte & 0x7F) << 7 * place for place, byte in enumerate(field.content)) == value
        else:
            assert field.content == (value.encode() if isinstance(value, str) else value)


def test_numbers_of_four_and_eight_bytes() -> None:
    message = b"\x0d1234\x11abcdefgh\x18\x07"  # field 1 of four bytes, 2 of eight, 3 a varint
    fields = [(field.number, bytes(field.content)) for field in read_fields(memoryview(message))]
    assert fields == [(1, b"1234"), (2, b"abcdefgh"), (3, b"\x07")]


@pytest.mark.parametrize(
    "damaged",
    [
        b"\x0a",  # a length is missing
        b"\x0a\x05abc",  # the length is more than there is
        b"\x0a" + b"\xff" * 9 + b"\x01",  # much more
        b"\x08" + b"\xff" * 11,  # a varint that does not end
        b"\x0d123",  # three of four bytes
        b"\x11abcdefg",  # seven of eight
        b"\x0b\x0c",  # wire types 3 and 4: groups, which ONNX never had
        b"\x0e\x00",  # wire type 6
    ],
)
def test_what_is_no_message(damaged: bytes) -> None:
    with pytest.raises(ModelFileError, match="not an ONNX model, or a damaged one"):
        list(read_fields(memoryview(damaged)))


@given(st.binary(max_size=60))
def test_any_bytes_are_fields_or_an_error(content: bytes) -> None:
    try:
        fields = list(read_fields(memoryview(content)))
    except ModelFileError:
        return
    assert b"".join(field.whole for field in fields) == content
