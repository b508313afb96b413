"""Builds the page's WebAssembly from its text: `python -m tests.pages.kernel` after a change of kernel.wat."""

from pathlib import Path

import wasmtime

import charrnn.pages

WEB = Path(charrnn.pages.__file__).parent / "web"
_HEADER_BYTES = 8
_CUSTOM = 0


def build(text: str) -> bytes:
    """The module that `text` describes, without the names of its functions and locals."""
    module = bytes(wasmtime.wat2wasm(text))
    kept, at = module[:_HEADER_BYTES], _HEADER_BYTES
    while at < len(module):
        size, begin = _varint(module, at + 1)
        end = begin + size
        if module[at] != _CUSTOM:
            kept += module[at:end]
        at = end
    return kept


def _varint(module: bytes, at: int) -> tuple[int, int]:
    """A number in seven bits a byte, the lowest first, and the place after it."""
    value = shift = 0
    while True:
        value |= (module[at] & 0x7F) << shift
        if module[at] < 0x80:
            return value, at + 1
        at, shift = at + 1, shift + 7


if __name__ == "__main__":
    (WEB / "kernel.wasm").write_bytes(build((WEB / "kernel.wat").read_text()))
