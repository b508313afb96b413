from dataclasses import replace

import pytest
from huggingface_hub import ModelCard

from charrnn.errors import ConfigError
from charrnn.sharing.card import Card, check_license

CARD = Card(
    repository="owner/novel",
    license="",
    settings={"epochs": 3, "model": {"cell": "lstm", "hidden_size": 1200, "num_layers": 2}, "text": {"normaliser": []}},
    text={"corpus": "novel.txt"},
    origin="owner/before",
    parameters=12345,
    training={"step": 1000, "characters_seen": 64000, "validation_loss_nats": None, "test_loss_nats": 1.5},
    sizes={"model.onnx": 1_234_567},
    int8_nats=None,
    sample="It was",
    sample_flags="--seed 1",
    version="0.2.0",
)


def test_what_is_not_known_is_not_said() -> None:
    page = CARD.markdown()
    assert "validation loss" not in page
    assert "int8 weights" not in page
    assert "| test loss | 1.5000 nats a character (2.1640 bits) |" in page
    assert "an LSTM (2 layers of 1,200 units)" in page
    assert "- **No licence is stated.**" in page
    assert "| `model.onnx` | 1,235 KB |" in page
    assert "normaliser" not in page


def test_the_hub_reads_its_front() -> None:
    data = ModelCard(replace(CARD, license="mit").markdown()).data
    assert (data.license, data.base_model, data.library_name) == ("mit", "owner/before", "charrnn")
    assert (data.pipeline_tag, data.language) == ("text-generation", None)
    assert ModelCard(replace(CARD, origin="another model").markdown()).data.base_model is None
    assert ModelCard(CARD.markdown()).data.license is None


@pytest.mark.parametrize("sample", ["a ``` b", "````\n# no heading of ours\n````", "\x1b[2Jgone $address ${x"])
def test_a_sample_stays_in_its_fence(sample: str) -> None:
    page = replace(CARD, sample=sample).markdown()
    (fence,) = [line for line in page.splitlines() if line.endswith("`text")]
    ticks = fence.removesuffix("text")
    inside = page.split(f"\n{fence}\n")[1].split(f"\n{ticks}\n")[0]
    assert inside == sample.replace("\x1b", "␛")


def test_a_name_cannot_leave_its_cell() -> None:
    page = replace(CARD, text={"corpus": "a|b`c\n# d\x1b.txt"}).markdown()
    assert "| trained on | `abc # d␛.txt`: 0 characters |" in page


@pytest.mark.parametrize("identifier", ["MIT", "mit\nlibrary_name: x", "a b", "-x", "x" * 60, "mit: x"])
def test_what_is_no_license(identifier: str) -> None:
    with pytest.raises(ConfigError, match="give the Hub's identifier of one, such as mit"):
        check_license(identifier)


def test_licenses() -> None:
    for identifier in ("", "mit", "apache-2.0", "cc-by-nc-sa-4.0", "gpl-3.0", "other"):
        check_license(identifier)
