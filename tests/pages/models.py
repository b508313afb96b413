"""Random models of every cell, as the exporter writes them, and pages of them."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

from charrnn.export import SingleStep, Weights
from charrnn.export.graph import trace
from charrnn.export.weights import store
from charrnn.model import CharRNN, ModelConfig
from tests.runtime.handmade import HandMade

CHARACTERS = '\n !"\\abcdefghijklmnop\u00e8\u00e9\u4e2d\U0001f600\U0001f601'
"""What JSON and HTML escape, and code points of one and of two units of JavaScript's strings."""
DRIVE = Path(__file__).parent / "drive.mjs"


@cache
def model_file(cell: str, L: int, weights: Weights, normaliser: str = "[]", H: int = 37) -> bytes:
    """The content of a model.onnx; its weights are large enough that texts do not end in one letter for ever."""
    torch.manual_seed(1)
    config = ModelConfig(vocabulary_size=len(CHARACTERS), hidden_size=H, num_layers=L, cell=cell)  # type: ignore[arg-type]
    model = CharRNN(config)
    for name, parameter in model.named_parameters():
        parameter.data.mul_(4 if name.startswith("W_e") else 2)
    proto = trace(SingleStep(model))
    made = HandMade(L=L, H=H, characters=CHARACTERS, normaliser=json.loads(normaliser))
    onnx.helper.set_model_props(proto, made.metadata())
    store(proto, weights)
    return bytes(proto.SerializeToString())


def node(page: Path, *commands: dict[str, Any]) -> list[Any]:
    """What the page's script answers to `commands` under Node.js."""
    if not shutil.which("node"):
        pytest.skip("install: Node.js")
    done = subprocess.run(
        ["node", DRIVE, page],
        input="\n".join(map(json.dumps, commands)),
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def settings(temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> dict[str, float]:
    """Sampling settings by the names that the script has for them."""
    return {"temperature": temperature, "topK": top_k, "topP": top_p}
