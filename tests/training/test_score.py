"""charrnn-sample --score and training's evaluation agree on the same text, to 1e-4 and better."""

import json
from pathlib import Path

import pytest
from accelerate import Accelerator

from charrnn.cli.sample import main
from charrnn.export import export_onnx
from charrnn.scores import MIN_STREAM_CHARS
from charrnn.text.batches import Split
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.evaluation import evaluate_collective
from tests.conftest import Finished
from tests.training.small import V, model_of, stream_of


def score_of(model: Path, text: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    assert main([str(model), "--score", str(text), "--json"]) == 0
    scores: dict[str, float] = json.loads(capsys.readouterr().out)
    return scores


@pytest.mark.parametrize(
    ("start", "stop"),
    [
        (0, 4000),  # nothing predicts the first character, for either
        (1700, 1700 + 300),  # one stream; the character before the split predicts its first
        (500, 500 + 3 * MIN_STREAM_CHARS + 2),  # three streams, warmed up, and a rest
    ],
)
def test_a_split_of_any_model(
    accelerator: Accelerator, tmp_path: Path, capsys: pytest.CaptureFixture[str], start: int, stop: int
) -> None:
    model, stream = model_of(seed=3), stream_of(5000)
    vocabulary = Vocabulary("\n" + "".join(map(chr, range(ord("a"), ord("a") + V - 1))))
    path = tmp_path / "model.onnx"
    export_onnx(model, path, vocabulary=vocabulary, normaliser=Normaliser(), training={})
    text = tmp_path / "text.txt"
    text.write_bytes(vocabulary.decode(stream.read(max(0, start - 1), stop)).encode())
    expected = evaluate_collective(model, stream, Split("test", start, stop), accelerator)
    ours = score_of(path, text, capsys)
    assert ours["characters"] == expected.characters
    # Both are float32; a sum of some thousands of losses, each exact to 1e-7.
    assert ours["loss_nats"] == pytest.approx(expected.loss_nats, rel=1e-6)
    assert ours["bpc"] == pytest.approx(expected.bpc, rel=1e-6)
    assert ours["accuracy"] == pytest.approx(expected.accuracy, abs=0.5 / expected.characters)


def test_the_test_split_of_a_run(trained: Finished, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What training wrote down at its end comes out of its model.onnx too."""
    (record,) = trained.records("test_loss_nats")
    start, stop = json.loads((trained.run / "config.json").read_text())["text"]["splits"]["test"]
    alphabet = "abcdefghijklmnopqrstuvwxyz"
    text = tmp_path / "alphabet.txt"
    text.write_text("".join(alphabet[i % 26] for i in range(start - 1, stop)))
    ours = score_of(trained.run, text, capsys)
    assert ours["characters"] == stop - start
    assert ours["loss_nats"] == pytest.approx(record["test_loss_nats"], abs=1e-4)
    assert ours["accuracy"] == pytest.approx(record["test_accuracy"], abs=0.5 / (stop - start))
