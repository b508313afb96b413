"""Who may import whom, held by importing each part where everything else is missing, and by reading the imports."""

import ast
import importlib
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
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
        ("charrnn.sampling_config", set()),
        ("charrnn.cli.sample", set()),
        ("charrnn.cli.train", set()),
        ("charrnn.hub", set()),
        ("charrnn.splitmix", {"numpy"}),
        ("charrnn.text", set()),
        ("charrnn.text.settings", set()),
        ("charrnn.text.vocabulary", {"numpy"}),
        ("charrnn.text.normaliser", {"numpy"}),
        ("charrnn.runtime", {"numpy", "onnxruntime"}),
        ("charrnn.units", {"numpy"}),
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


# The way of the data: what each room may import of the others. Nothing imports `cli`.
LIGHT = {"arrays", "bars", "console", "errors", "files", "garbage", "sampling_config", "scores", "splitmix"}
ON_ALL_SIDES = LIGHT | {"config", "text", "model", "runtime", "export"}
MAY_IMPORT = {
    "": {"errors", "interactive", "runs", "runtime", "sharing"},
    "arrays": set(),
    "bars": set(),
    "errors": set(),
    "console": set(),
    "garbage": set(),
    "files": {"errors"},
    "sampling_config": {"errors"},
    "scores": {"arrays", "errors"},
    "splitmix": set(),
    "hub": {"", "errors", "hub"},
    "text": {"bars", "errors", "files", "splitmix", "text"},
    "model": {"errors", "files", "model"},
    "config": {"errors", "model", "text"},
    "presets": {"config", "errors", "model", "text"},
    "runtime": {"arrays", "errors", "hub", "sampling_config", "scores", "splitmix", "text", "runtime"},
    "units": {"errors", "text", "units"},
    "export": {"errors", "files", "garbage", "model", "runtime", "text", "export"},
    "processes": {"config", "errors", "model", "processes"},
    "runs": {"", "hub", "processes", "runs"} | ON_ALL_SIDES,
    "training": {"", "hub", "processes", "runs", "training"} | ON_ALL_SIDES,
    "interactive": {"pages", "presets", "runs", "training", "interactive"} | ON_ALL_SIDES,
    "sharing": {"", "hub", "runs", "training", "sharing"} | ON_ALL_SIDES,
    "writing": {"text", "runtime", "units", "pages", "writing"} | LIGHT,
    "pages": {"runtime", "pages"} | LIGHT,
    "autocomplete": {"runtime", "writing", "autocomplete"} | LIGHT,
    "cli": {"", "hub", "presets", "processes", "runs", "training", "sharing", "writing", "pages", "autocomplete", "cli"}
    | ON_ALL_SIDES,
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


def test_there_are_no_circles() -> None:
    """Neither of modules, nor of rooms, imports under TYPE_CHECKING included."""
    modules = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
    graph = {name: imports_of(path) & modules.keys() for name, path in modules.items() if path.stem != "__init__"}
    rooms = {room: may - {room} for room, may in MAY_IMPORT.items() if room}
    for name, arrows in (("modules", graph), ("rooms", rooms)):
        try:
            tuple(TopologicalSorter(arrows).static_order())
        except CycleError as error:
            pytest.fail(f"{name} import each other in a circle: {error.args[1]}")


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
    [f"charrnn.{path.parent.name}" for path in sorted(PACKAGE.glob("*/__init__.py"))],
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
        "CharRNN",
        "CharRNNError",
        "OnnxModel",
        "Run",
        "generate",
        "load",
        "push",
        "train",
    ]
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        charrnn.nonsense  # noqa: B018
