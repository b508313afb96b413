"""A model's way over the Hub, by the commands: trained, pushed, sampled without torch, fine-tuned, offline."""

import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import charrnn
from tests.conftest import ROOT, Finished, command_line, finish
from tests.hub_server import TOKEN, LoopbackHub
from tests.test_imports import ONLY
from tests.training.test_distributed import launch


def installed_by(*names: str) -> set[str]:
    """The modules that `pip install NAMES...` brings: those of the distributions, and of what they require."""
    waiting, found = list(names), set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        needed = [Requirement(line) for line in requires(name) or []]
        waiting += [each.name.lower().replace("_", "-") for each in needed if not each.marker or each.marker.evaluate()]
    spelled = {
        module: {each.lower().replace("_", "-") for each in of} for module, of in packages_distributions().items()
    }
    return {module for module, distributions in spelled.items() if distributions & found}


def light(code: str) -> Finished:
    """Run `code` where there is what `pip install 'charrnn[hub]'` brings, and nothing else."""
    allowed = {"charrnn", *installed_by("numpy", "onnxruntime", "huggingface-hub")}
    assert not allowed & {"torch", "datasets", "safetensors", "onnx", "pyarrow", "accelerate", "matplotlib"}
    return finish(Path(), [sys.executable, "-c", ONLY.format(allowed=allowed) + code])


def sampled(*flags: str) -> Finished:
    return light(f"from charrnn.cli.sample import main\nsys.exit(main({list(flags)!r}))")


@pytest.mark.distributed
def test_the_way_over_the_hub(
    trained: Finished, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    pushed = finish(trained.run, command_line("-m", "charrnn.cli.export", trained.run, "--hub", "owner/novel"))
    assert (pushed.returncode, pushed.stderr) == (0, "")
    address = pushed.stdout.split("; charrnn-sample ")[1].strip()
    newest = hub.repositories["owner/novel"].newest
    assert address == f"hf://owner/novel@{newest}"

    flags = ["--length", "60", "--seed", "5"]
    expected = charrnn.generate(trained.run, length=60, seed=5) + "\n"
    result = sampled("hf://owner/novel", *flags)
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")
    small = sampled(f"{address}/model-int8.onnx", *flags, "--verbose")
    assert (small.returncode, small.stdout) == (0, expected)
    assert "weights int8" in small.stderr

    tuned = tmp_path / "tuned"
    train = ["alphabet", "--max-steps", 3, "--log.wandb", "disabled", "--threads", 1]
    result = launch(tuned, 2, *train, "--init-from", "hf://owner/novel")
    assert result.returncode == 0, result.stderr
    assert "2 processes on cpu" in result.stdout
    assert "hf://owner/novel: 26 of 26 characters known, 100.00% of the text" in result.stdout
    (test,) = result.records("test_loss_nats")
    assert test["test_loss_nats"] < 0.1, "it begins where the other one ended"

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    asked = len(hub.requests)
    result = sampled("hf://owner/novel", *flags)
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")
    assert len(hub.requests) == asked


def test_the_snippets_of_the_card_run(trained: Finished, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    charrnn.push(trained.run, "owner/novel")
    card = hub.repositories["owner/novel"].files["README.md"].decode()
    with_charrnn, in_torch, with_onnxruntime = (part.split("```")[0] for part in card.split("```python\n")[1:])
    expected = charrnn.generate(trained.run, length=200, temperature=0.7, seed=1)
    result = light(with_charrnn + with_onnxruntime)
    assert (result.returncode, result.stdout[:201]) == (0, expected + "\n"), result.stderr
    assert len(result.stdout) == 402
    result = finish(Path(), [sys.executable, "-c", in_torch + "print(*logits.shape)"])
    assert (result.returncode, result.stdout) == (0, "1 5 26\n"), result.stderr


def test_without_huggingface_hub_one_line_says_what_to_install() -> None:
    allowed = {"charrnn", *installed_by("numpy", "onnxruntime")}
    code = ONLY.format(allowed=allowed) + "from charrnn.cli.sample import main\nsys.exit(main(['hf://owner/novel']))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    message = "charrnn-sample: error: hf://owner/novel: models of the Hub need huggingface_hub: "
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == f"{message}pip install 'charrnn[hub]'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["hf://novel"],
            "'hf://novel' is no address of a model on the Hub: write hf://OWNER/NAME, or hf://OWNER/NAME@",
        ),
        (["hf://owner/gone"], "hf://owner/gone: there is no such repository, or it is private: check the name, or log"),
    ],
)
def test_mistakes_are_one_line(hub: LoopbackHub, words: list[str], message: str) -> None:
    result = sampled(*words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith(f"charrnn-sample: error: {message}")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(("variable", "value"), [("HF_ENDPOINT", "http://[x"), ("HF_HUB_DOWNLOAD_TIMEOUT", "soon")])
def test_an_environment_that_huggingface_hub_cannot_use(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    result = sampled("hf://owner/novel")
    assert (result.returncode, result.stdout) == (2, "")
    message = "charrnn-sample: error: hf://owner/novel: huggingface_hub cannot be used as the environment has it ("
    assert result.stderr.startswith(message)
    assert result.stderr.endswith("): look at HF_ENDPOINT and the other variables that begin so\n")
