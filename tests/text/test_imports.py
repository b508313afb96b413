"""Who may import whom: blocked modules stand as None in sys.modules, so importing one of them raises."""

import subprocess
import sys
from pathlib import Path

import pytest

import charrnn.text

MODULES = sorted(path.stem for path in Path(charrnn.text.__file__).parent.glob("*.py"))


def run_with_blocked(blocked: list[str], code: str) -> subprocess.CompletedProcess[str]:
    blocking = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))"
    return subprocess.run([sys.executable, "-c", f"{blocking}\n{code}"], capture_output=True, text=True, check=False)


def test_vocabulary_and_normaliser_need_numpy_alone() -> None:
    code = (
        "from charrnn.text.vocabulary import Vocabulary\nfrom charrnn.text.normaliser import Normaliser\n"
        "print(Vocabulary('ab').encode(Normaliser.named('notebook', 'nfc')('A!b').replace('!', '')).tolist())"
    )
    result = run_with_blocked(["torch", "accelerate", "datasets", "pyarrow", "tqdm", "onnxruntime"], code)
    assert (result.stdout, result.stderr, result.returncode) == ("[0, 1]\n", "", 0)


def test_the_room_needs_no_torch() -> None:
    code = "\n".join(f"import charrnn.text.{name}" for name in MODULES if name != "__init__")
    result = run_with_blocked(
        ["torch", "accelerate", "wandb", "onnx", "tyro", "charrnn.config", "charrnn.model", "charrnn.training"], code
    )
    assert (result.stderr, result.returncode) == ("", 0)


@pytest.mark.parametrize("name", ["batches", "prepare"])
def test_importing_does_not_take_the_second_of_datasets(name: str) -> None:
    result = run_with_blocked(["datasets", "pyarrow"], f"import charrnn.text.{name}")
    assert (result.stderr, result.returncode) == ("", 0)
