"""The wire format of protobuf, as much of it as takes an ONNX file apart and puts another one together.

A message is a sequence of fields: a tag (field number and wire type, one varint), then a varint, or four or eight
bytes, or a length and as many bytes, which may be a message again. https://protobuf.dev/programming-guides/encoding/
"""

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from charrnn.errors import ModelFileError

__all__ = ["Field", "Message", "read_fields", "write_message"]

Message: TypeAlias = list[bytes | memoryview]
"""An encoded message, in pieces: the weights in it are large, and would be copied once for each message around them."""

_VARINT, _EIGHT_BYTES, _BYTES, _FOUR_BYTES = 0, 1, 2, 5


class Field(NamedTuple):
    """A field of a message, as views into it."""

    number: int
    content: memoryview
    """What a field of bytes holds; for the other wire types the encoded value."""
    whole: memoryview
    """Tag, length and content: what to copy to keep the field as it is."""


def read_fields(message: memoryview) -> Iterator[Field]:
    """Yield the fields of `message` (bytes), without copying any.

    Raises ModelFileError where it ends too early or has a wire type that protobuf lacks.
    """
    position = 0
    while position < len(message):
        start = position
        tag, position = _next_varint(message, position)
        begin = position
        wire_type = tag & 7
        if wire_type == _VARINT:
            _, position = _next_varint(message, position)
        elif wire_type == _BYTES:
            length, begin = _next_varint(message, position)
            position = begin + length
        elif wire_type in (_FOUR_BYTES, _EIGHT_BYTES):
            position += 4 if wire_type == _FOUR_BYTES else 8
        else:
            raise _damaged()
        if position > len(message):
            raise _damaged()
        yield Field(tag >> 3, message[begin:position], message[start:position])


def _next_varint(message: memoryview, position: int) -> tuple[int, int]:
    """Seven bits a byte, the lowest first, the highest bit says that more follow: the value, and the place after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise _damaged()


def _damaged() -> ModelFileError:
    return ModelFileError("it is not an ONNX model, or a damaged one: export or copy it again")


def write_message(*fields: tuple[int, int | str | bytes | Message]) -> Message:
    """A message of (field number, value): whole numbers from 0 as varints, all else after its length."""
    parts: Message = []
    for number, value in fields:
        if isinstance(value, int):
            parts += [_varint(number << 3), _varint(value)]
            continue
        content = [value.encode()] if isinstance(value, str) else [value] if isinstance(value, bytes) else value
        parts += [_varint(number << 3 | _BYTES), _varint(sum(map(len, content))), *content]
    return parts


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
