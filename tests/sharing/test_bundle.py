"""What goes up: whole, usable, listed, and silent about the machine that it comes from."""

import hashlib
import json
import math
import os
import platform
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import charrnn
from charrnn.runs.choice import choose_checkpoint
from charrnn.runs.directory import RunDirectory
from charrnn.sharing.bundle import NAMES, Bundle, bundle
from tests.conftest import ROOT, Finished
from tests.sharing.conftest import SECRET


@pytest.fixture
def folder(bundled: Bundle, tmp_path: Path) -> Path:
    for name, data in bundled.files.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_these_files_and_no_others(bundled: Bundle) -> None:
    assert sorted(bundled.files) == sorted(NAMES)
    assert bundled.step == 60


def test_nothing_says_where_it_was_made(bundled: Bundle, private_run: Path) -> None:
    known = [SECRET, str(private_run), str(ROOT), platform.node(), os.environ["HOME"], "/tmp/", "/home/"]
    for name, data in bundled.files.items():
        for secret in [word for word in known if len(word) > 4]:  # shorter ones come about in weights by themselves
            assert secret.encode() not in data, (name, secret)
        readable = data if name.endswith((".json", ".md")) else b" ".join(re.findall(rb"[ -~]{6,}", data))
        paths = re.findall(rb"(?<![\w/:.<`-])/(?:\w[\w.-]*/)+\w+", re.sub(rb"https?://\S+", b"", readable))
        assert not paths, (name, paths)
    assert json.loads(bundled.files["config.json"])["text"]["corpus"] == "novel.txt, standard input"


def test_the_picture_has_no_more_words_than_its_maker(bundled: Bundle) -> None:
    data, words, at = bundled.files["loss.png"], [], 8
    while at < len(data):
        (size,), kind = struct.unpack(">I", data[at : at + 4]), data[at + 4 : at + 8]
        words += [data[at + 8 : at + 8 + size]] if kind in (b"tEXt", b"zTXt", b"iTXt", b"eXIf") else []
        at += 12 + size
    assert [word.split(b"\0")[0] for word in words] == [b"Software"]
    assert zlib.crc32(data)  # it is read to its end


def test_every_file_is_listed(bundled: Bundle) -> None:
    listed = json.loads(bundled.files["config.json"])["files"]
    assert listed == {
        name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in bundled.files.items()
        if name != "config.json"
    }


def test_all_three_forms_are_the_same_model(folder: Path, trained: Finished) -> None:
    expected = charrnn.load(trained.run)
    model = charrnn.CharRNN.from_pretrained(folder)
    whole, small = charrnn.load(folder / "model.onnx"), charrnn.load(folder)
    assert model.vocabulary == whole.vocabulary == expected.vocabulary
    ids = np.array([0, 3, 1, 25, 7])
    logits, _ = whole.read(ids[:, None], whole.initial_state(1))
    np.testing.assert_array_equal(logits, expected.read(ids[:, None], expected.initial_state(1))[0])
    with torch.no_grad():
        np.testing.assert_allclose(logits[:, 0], model(torch.from_numpy(ids)[None])[0][0], atol=1e-4)
    assert whole.training | {"corpus": ""} == expected.training | {"corpus": ""}
    assert small.training["corpus"] == "novel.txt, standard input"
    assert charrnn.load(folder / "model-int8.onnx").training["weights"] == "int8"


def test_the_same_run_gives_the_same_files(bundled: Bundle, private_run: Path) -> None:
    """So pushing it again makes no commit."""
    directory = RunDirectory(private_run)
    again = bundle(directory, choose_checkpoint(directory, "best", print), "owner/novel", license="cc-by-4.0")
    assert again == bundled


def test_the_card_tells_figures_of_the_run(bundled: Bundle, trained: Finished) -> None:
    card = bundled.files["README.md"].decode()
    front = card.split("---\n")[1]
    assert front == (
        "license: cc-by-4.0\nlibrary_name: charrnn\npipeline_tag: text-generation\n"
        "tags:\n- charrnn\n- char-rnn\n- character-level\n- rnn\n- onnx\n"
    )
    (nats,) = [r["test_loss_nats"] for r in trained.records("test_loss_nats")]
    assert f"| test loss | {nats:.4f} nats a character ({nats / math.log(2):.4f} bits) |" in card
    assert "a tanh RNN (1 layer of 30 units)" in card
    assert "| parameters | 3,446 |" in card
    assert "on `novel.txt, standard input`, starting from another model." in card
    assert "| trained for | 60 steps, 24,000 characters |" in card
    assert re.search(r"\| the same with int8 weights \| [+-]0\.0\d{3} nats on the validation split \|", card)
    assert "(loss.png)" in card
    assert "No licence" not in card
    assert "$" not in card


def test_the_sample_is_what_its_command_writes(folder: Path) -> None:
    card = (folder / "README.md").read_text()
    assert "charrnn-sample hf://owner/novel --length 400 --temperature 0.7 --seed 1\n" in card
    text = charrnn.generate(folder / "model.onnx", "", 400, temperature=0.7, seed=1)
    assert f"```text\n{text}\n```" in card


def test_a_run_of_an_earlier_release_goes_up_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its text is no longer in the cache: what int8 costs stays unsaid."""
    monkeypatch.setenv("CHARRNN_CACHE", str(tmp_path / "cache"))
    directory = RunDirectory(ROOT / "tests" / "golden" / "run-0.1.0" / "stream" / "run")
    made = bundle(directory, choose_checkpoint(directory, "latest", print), "owner/old")
    for name, data in made.files.items():
        (tmp_path / name).write_bytes(data)
    card = made.files["README.md"].decode()
    assert "a tanh RNN (2 layers of 8 units)" in card
    assert "words.txt" in card
    assert "int8 weights" not in card
    assert "- **No licence is stated.**" in card
    model = charrnn.CharRNN.from_pretrained(tmp_path)
    assert model.vocabulary == charrnn.load(tmp_path).vocabulary
