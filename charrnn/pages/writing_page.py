"""The page: a model and all that it takes to write with it, in one HTML file that opens by a double click.

Its parts are files in `web/`, the script's put one behind the other. The page asks the network for nothing, and its
Content-Security-Policy lets it ask for nothing: script and style are named by their hashes.
"""

import base64
import gzip
import hashlib
from html import escape
from importlib.resources import files
from pathlib import PurePath

from charrnn.errors import ModelFileError
from charrnn.pages.coloured_text import COLOURS, INK
from charrnn.runtime.protobuf import read_fields
from charrnn.runtime.step_graph import GRAPH, GRAPH_NODES

__all__ = ["OPERATORS", "SCRIPTS", "check_operators", "title_of", "writing_page"]

SCRIPTS = (
    *("onnx_file", "memory", "operators", "step", "choice", "prompt", "reader", "completion", "opening"),
    *("text_view", "unit_strip", "settings", "desk", "start"),
)
"""The parts of the script, in order; those up to `opening` need no document."""
OPERATORS = frozenset(
    {
        *("Add", "Cast", "Concat", "Gather", "MatMul", "MatMulInteger", "Mul"),
        *("QuantizeLinear", "Sigmoid", "Split", "Sub", "Tanh", "Unsqueeze"),
    }
)
"""What the page can run: all that charrnn's exporter writes, but for int4."""
_COMMENTS = ("//", "/**", "* ", "*/")
_DARKEST = 0.6
"""In the dark a surprise of 8 bits is its colour at this opacity: light letters stay readable on it."""


def writing_page(model: bytes, title: str, *, monospaced: bool = False) -> bytes:
    """The page of `model`, the content of a model.onnx; monospaced: whether its text is shown in such a font."""
    colours = _colours()
    style = _part("page.css").replace("/* colours */", colours)
    script = _script()
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}' 'wasm-unsafe-eval'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    page = _part("page.html")
    parts = {
        "policy": policy,
        "title": escape(title),
        "font": "monospaced" if monospaced else "proportional",
        "style": style,
        "script": script,
        "model": _packed(model),
    }
    before, *places = page.split("{{")
    for place in places:
        name, _, after = place.partition("}}")
        before += parts[name] + after
    return before.encode()


def check_operators(model: bytes) -> None:
    """Raises ModelFileError where `model`, the content of an ONNX file, has a node that the page cannot run."""
    for field in read_fields(memoryview(model)):
        if field.number == GRAPH:
            for part in read_fields(field.content):
                if part.number == GRAPH_NODES and (operator := _operator(part.content)) not in OPERATORS:
                    raise ModelFileError(
                        f"it uses the operator {operator}, which the page cannot run: export it as int8 or float32"
                    )


def _operator(node: memoryview) -> str:
    """The operator of a NodeProto, after its domain where that is not ONNX's own."""
    fields = {
        field.number: str(field.content, "utf-8", "replace") for field in read_fields(node) if field.number in (4, 7)
    }
    domain = fields.get(7, "")
    return fields.get(4, "") if domain in ("", "ai.onnx") else f"{domain}.{fields.get(4, '')}"


def title_of(run: PurePath) -> str:
    """What the page of a run directory or of a model file is called: model.onnx as the run that it is in."""
    is_of_run = run.suffix == ".onnx" and run.stem.startswith("model")
    return (run.parent.name if is_of_run else run.stem) or "charrnn"


def _script() -> str:
    kernel = _packed(files("charrnn.pages").joinpath("web", "kernel.wasm").read_bytes())
    parts = "".join(_bare(_part(f"{name}.js")) for name in SCRIPTS)
    script = f'"use strict";\n{{\nconst KERNEL = "{kernel}";\n{parts}}}\n'
    assert "</script" not in script, "it would end the element that it is in"
    return script


def _packed(content: bytes) -> str:
    """Compressed, as text. No time is in it: the same model makes the same page."""
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _bare(script: str) -> str:
    """`script` without comments and indentation, a fourth of its bytes; no text in it has " // "."""
    lines = [line.partition(" // ")[0].strip() for line in script.splitlines()]
    return "".join(line + "\n" for line in lines if line not in ("", "*") and not line.startswith(_COMMENTS))


def _part(name: str) -> str:
    return files("charrnn.pages").joinpath("web", name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()


def _colours() -> str:
    """The colours of the surprise, of 1 to 8 or more bits; a character of less keeps the paper's."""
    red, green, blue = bytes.fromhex(COLOURS[-1][1:])
    light = [f".c{n} {{ background: {colour}; color: {INK}; }}" for n, colour in enumerate(COLOURS) if n]
    share = _DARKEST / (len(COLOURS) - 1)
    dark = [
        f"  .c{n} {{ background: rgb({red} {green} {blue} / {n * share:.3f}); color: inherit; }}"
        for n in range(1, len(COLOURS))
    ]
    return "\n".join([*light, "@media (prefers-color-scheme: dark) {", *dark, "}"])
