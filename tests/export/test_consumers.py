"""The consumers outside Python write, character for character, what Python writes from the same file."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import onnx
import pytest
import torch
from filelock import FileLock

from charrnn.export import SingleStep, Weights
from charrnn.export.graph import trace
from charrnn.export.weights import store
from charrnn.model import CharRNN, ModelConfig
from tests.runtime.handmade import HandMade

EXPORT = Path(__file__).parents[2] / "export"
CHARACTERS = '\n !"\\abcdef'
CHARACTERS += "\u00e8\u00e9\u00ea\u00eb\u4e2c\u4e2d\u4e2e\u4e2f\U0001f600\U0001f601\U0001f602\U0001f603"
"""What JSON escapes, and code points of one to four bytes in UTF-8, of one and two units in UTF-16."""
PROMPT = 'a"\u00e9\u4e2d\U0001f600\\b'
LENGTH = 500
L, H = 2, 37
FILES: list[tuple[str, Weights]] = [("tanh", weights) for weights in get_args(Weights)]
FILES += [(cell, weights) for cell in ("gru", "lstm") for weights in ("float32", "int8")]


def traced(cell: str) -> onnx.ModelProto:
    """A random model's graph, as the exporter makes it."""
    torch.manual_seed(5)  # of whose models each text has characters of one to four bytes
    config = ModelConfig(vocabulary_size=len(CHARACTERS), hidden_size=H, num_layers=L, cell=cell)  # type: ignore[arg-type]
    model = CharRNN(config)
    for layer in range(L):
        model.parameter("W_e", layer).data.mul_(3)  # else most texts end in one letter for ever
    proto = trace(SingleStep(model))
    onnx.helper.set_model_props(proto, HandMade(L=L, H=H, characters=CHARACTERS).metadata())
    return proto


@pytest.fixture(scope="module", params=FILES, ids="-".join)
def model_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, H = 37: of `tanh` in each form that charrnn-export writes, of the gated cells in two."""
    cell, weights = request.param
    proto = HandMade(L=L, H=H, characters=CHARACTERS, seed=114).proto() if cell == "tanh" else traced(cell)
    store(proto, weights)
    path = tmp_path_factory.mktemp(weights) / "model.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def output(*command: str | Path, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [*map(str, command)], capture_output=True, encoding="utf-8", check=False, timeout=250, cwd=cwd
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def expected(model_file: Path) -> str:
    """What Python writes."""
    text = output(sys.executable, EXPORT / "greedy.py", model_file, PROMPT, str(LENGTH))
    assert len(text) == len(PROMPT) + LENGTH + 1
    assert len(set(text)) > 8, "and not a few letters for ever"
    assert {len(character.encode()) for character in text[len(PROMPT) :]} == {1, 2, 3, 4}
    return text


@pytest.fixture(scope="session")
def node_client(shared_dir: Path) -> Path:
    """export/node with its package installed, in a place of this test session."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("install: Node.js and npm")
    place = shared_dir / "node"

    def install() -> None:
        shutil.copytree(EXPORT / "node", place, ignore=shutil.ignore_patterns("node_modules"), dirs_exist_ok=True)
        done = subprocess.run(["npm", "install"], cwd=place, capture_output=True, text=True, timeout=250, check=False)
        if done.returncode:
            pytest.skip(f"not here: npm cannot install onnxruntime-web here: {done.stderr.strip().splitlines()[-1:]}")

    once(shared_dir / "node.lock", place / "node_modules" / "onnxruntime-web", install)
    return place / "greedy.mjs"


@pytest.fixture(scope="session")
def cpp_client(shared_dir: Path) -> Path:
    """export/cpp, built in a place of this test session."""
    if not (shutil.which("g++") and shutil.which("make")):
        pytest.skip("install: g++ and make")
    place = shared_dir / "cpp"
    command = ["make", "-C", EXPORT / "cpp", f"PYTHON={sys.executable}", f"BUILD={place}", "CXX=g++"]
    once(shared_dir / "cpp.lock", place / "greedy", lambda: output(*command))
    return place / "greedy"


def once(lock: Path, made: Path, make: Callable[[], object]) -> None:
    with FileLock(lock):
        if not made.exists():
            make()


def test_node_writes_the_same_text(model_file: Path, expected: str, node_client: Path) -> None:
    assert output("node", node_client, model_file, PROMPT, str(LENGTH)) == expected


def test_cpp_writes_the_same_text(model_file: Path, expected: str, cpp_client: Path) -> None:
    assert output(cpp_client, model_file, PROMPT, str(LENGTH)) == expected


def test_charrnn_sample_writes_the_same_text(model_file: Path, expected: str) -> None:
    command = [sys.executable, "-m", "charrnn.cli.sample", model_file, "--prompt", PROMPT, "--length", str(LENGTH)]
    assert output(*command, "--temperature", "0") == expected


@pytest.mark.parametrize("consumer", ["node", "cpp"])
def test_a_consumer_says_what_it_does_not_know(request: pytest.FixtureRequest, tmp_path: Path, consumer: str) -> None:
    client = request.getfixturevalue(f"{consumer}_client")
    path = HandMade().save(tmp_path / "model.onnx")
    command = ["node", client] if consumer == "node" else [client]
    done = subprocess.run([*command, path, "a\u00e9", "5"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "the model does not know" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("source", ["greedy.py", "node/greedy.mjs", "cpp/greedy.cpp", "cpp/ort.h"])
def test_a_consumer_is_short(source: str) -> None:
    assert len((EXPORT / source).read_text(encoding="utf-8").splitlines()) < 150
