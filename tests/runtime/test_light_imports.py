"""The sampler's part of the package needs numpy and onnxruntime alone, and says what it offers."""

import subprocess
import sys

import pytest

import charrnn.runtime

HEAVY = {
    "torch",
    "datasets",
    "accelerate",
    "wandb",
    "onnx",
    "onnxscript",
    "safetensors",
    "tyro",
    "tqdm",
    "matplotlib",
    "pyarrow",
}


def modules_after(statement: str) -> set[str]:
    script = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in result.stdout.split()}


def test_runtime_imports_nothing_heavy() -> None:
    loaded = modules_after("import charrnn.runtime")
    assert not loaded & HEAVY
    assert {"numpy", "onnxruntime"} <= loaded


@pytest.mark.parametrize("module", ["charrnn", "charrnn.cli.sample"])
def test_the_package_and_the_command_import_neither_numpy_nor_onnxruntime(module: str) -> None:
    assert not modules_after(f"import {module}") & (HEAVY | {"numpy", "onnxruntime"})


def test_all_is_what_the_package_exports() -> None:
    public = {
        name
        for name, value in vars(charrnn.runtime).items()
        if not name.startswith("_") and not isinstance(value, type(charrnn.runtime))
    }
    assert set(charrnn.runtime.__all__) == public
