"""Who may import whom, held by importing each part where everything else is missing, and by reading the imports."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import charrnn

PACKAGE = Path(charrnn.__file__).parent
TRAINING_SIDE = ["torch", "accelerate", "datasets", "pyarrow", "wandb", "onnx", "onnxscript", "onnx_ir", "safetensors"]
TRAINING_SIDE += ["tyro", "tqdm", "matplotlib", "psutil", "filelock", "huggingface_hub"]

# A finder that comes first and knows no module but the standard library's and those that are named.
ONLY = """
import sys
class Only:
    allowed = sys.stdlib_module_names | {allowed!r}
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] not in self.allowed:
            raise ModuleNotFoundError(f'{{name}} is blocked', name=name)
sys.meta_path.insert(0, Only())
"""
WITHOUT = "import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"


def interpret(code: str) -> tuple[int, str, str]:
    """Run `code` in a new interpreter: exit status, stdout, stderr."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    return result.returncode, result.stdout, result.stderr


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("charrnn", set()),
        ("charrnn.errors", set()),
        ("charrnn.console", set()),
        ("charrnn.cli.sample", set()),
        ("charrnn.cli.train", set()),
        ("charrnn.text", set()),
        ("charrnn.text.vocabulary", {"numpy"}),
        ("charrnn.text.normaliser", {"numpy"}),
        ("charrnn.runtime", {"numpy", "onnxruntime"}),
    ],
)
def test_the_light_part_needs_nothing_else(module: str, allowed: set[str]) -> None:
    code = ONLY.format(allowed={"charrnn", *allowed}) + f"import {module}"
    assert interpret(code) == (0, "", "")


def test_the_model_needs_torch_alone() -> None:
    blocked = [name for name in TRAINING_SIDE if name != "torch"] + ["onnxruntime", "charrnn.text", "charrnn.training"]
    code = WITHOUT.format(blocked=blocked) + (
        "import charrnn.model as m, torch\n"
        "model = m.CharRNN(m.ModelConfig(vocabulary_size=3, hidden_size=4))\n"
        "print(*model(torch.zeros(2, 5, dtype=torch.uint8))[0].shape)"
    )
    assert interpret(code) == (0, "2 5 3\n", "")


def test_a_blocked_module_is_really_missing() -> None:
    """The blocking itself: otherwise the tests above could not fail."""
    status, _, message = interpret(ONLY.format(allowed={"charrnn", "numpy"}) + "import charrnn.runtime")
    assert status == 1
    assert "onnxruntime is blocked" in message
    assert interpret(WITHOUT.format(blocked=["torch"]) + "import charrnn.model")[0] == 1


# The way of the data: what each room may import of the others. `training` sees all of them, `cli` is seen by none.
MAY_IMPORT = {
    "": {"errors", "runtime"},
    "errors": set(),
    "console": set(),
    "files": {"errors"},
    "text": {"errors", "files", "text"},
    "model": {"errors", "files", "model"},
    "runtime": {"errors", "text", "runtime"},
    "export": {"errors", "files", "model", "runtime", "text", "export"},
    "training": {"", "console", "errors", "files", "model", "runtime", "text", "export", "training"},
    "cli": {"", "console", "errors", "files", "model", "runtime", "text", "export", "training", "cli"},
}


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def imports_of(path: Path) -> set[str]:
    """The modules that a file imports anywhere, in functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports hide who imports whom"
            # `from charrnn import runtime` imports a room, `from charrnn.text import stream` a module.
            names |= {f"{node.module}.{alias.name}" for alias in node.names} if node.module == "charrnn" else set()
            names |= {node.module or ""}
    return names


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_one_way(path: Path) -> None:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    room = "" if parts == ("__init__",) else parts[0]
    imported = imports_of(path)
    assert not {name.partition(".")[0] for name in imported} & {"tests", "benchmarks", "launch", "export", "train"}
    ours = {room_of(name) for name in imported if name.partition(".")[0] == "charrnn"}
    # `from charrnn import generate` names the package itself; only rooms that exist as files count.
    rooms = {name for name in ours if name in MAY_IMPORT}
    assert rooms <= MAY_IMPORT[room] | ({""} if room == "" else set())


def test_importing_charrnn_is_light_and_its_sampler_comes_on_first_use() -> None:
    code = (
        "import sys, charrnn\n"
        "heavy = {'numpy', 'onnxruntime', 'torch'}\n"
        "print(sorted(heavy & sys.modules.keys()))\n"
        "charrnn.generate\n"
        "print(sorted(heavy & sys.modules.keys()))"
    )
    assert interpret(code) == (0, "[]\n['numpy', 'onnxruntime']\n", "")


@pytest.mark.parametrize(
    "name",
    ["charrnn.model", "charrnn.export", "charrnn.runtime", "charrnn.text", "charrnn.training", "charrnn.cli"],
)
def test_all_is_what_a_package_exports(name: str) -> None:
    package = importlib.import_module(name)
    public = {
        key for key, value in vars(package).items() if not key.startswith("_") and not isinstance(value, ModuleType)
    }
    assert public == set(getattr(package, "__all__", []))


def test_all_of_the_top_level() -> None:
    assert charrnn.__all__ == sorted(charrnn.__all__)
    assert [getattr(charrnn, name).__name__ for name in charrnn.__all__ if name != "__version__"] == [
        "CharRNNError",
        "OnnxModel",
        "generate",
        "load",
    ]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018
