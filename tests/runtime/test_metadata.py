"""The metadata, as export/README.md promises it to other clients."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from charrnn.errors import ModelFileError
from charrnn.runtime import FORMAT_VERSION, ModelMetadata

CONTRACT = (Path(__file__).parents[2] / "export" / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def example() -> dict[str, Any]:
    """The contract's example: key -> what its text parses to."""
    (block,) = re.findall(r"```json\n(.*?)```", CONTRACT, re.DOTALL)
    parsed: dict[str, Any] = json.loads(block)
    return parsed


def test_the_contracts_example_is_read(example: dict[str, Any]) -> None:
    metadata = ModelMetadata.from_properties({key: json.dumps(value) for key, value in example.items()})
    assert metadata.vocabulary.characters == "\n !abcdeé😀"
    assert len(metadata.vocabulary) == metadata.config["vocabulary_size"]
    assert metadata.normaliser("ABCDEF\tÉ😀") == "abcde  é😀"
    assert metadata.training["test_loss_nats"] == 1.31


def test_it_is_written_as_the_contract_says(example: dict[str, Any]) -> None:
    metadata = ModelMetadata.from_properties({key: json.dumps(value) for key, value in example.items()})
    properties = metadata.to_properties()
    assert {key: json.loads(text) for key, text in properties.items()} == example
    assert all(text.isascii() for text in properties.values())
    assert ModelMetadata.from_properties(properties) == metadata


def test_the_contract_names_the_version_that_is_written(example: dict[str, Any]) -> None:
    assert example["charrnn.format_version"] == FORMAT_VERSION
    assert f"Format version {FORMAT_VERSION}." in CONTRACT


def test_numbers_that_json_lacks_are_not_written(example: dict[str, Any]) -> None:
    metadata = ModelMetadata.from_properties({key: json.dumps(value) for key, value in example.items()})
    metadata.training["test_loss_nats"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        metadata.to_properties()


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("charrnn.vocabulary", "{}", "its metadata cannot be used: "),
        ("charrnn.normaliser", '[{"step": "shout"}]', "its metadata cannot be used: unknown normaliser 'shout'"),
        ("charrnn.model", "{", "its metadata charrnn.model is not a JSON object: '{'"),
        ("charrnn.model", "[" * 100_000, "its metadata charrnn.model is not a JSON object: '[["),
    ],
)
def test_what_is_malformed_is_refused(example: dict[str, Any], key: str, text: str, message: str) -> None:
    properties = {name: json.dumps(value) for name, value in example.items()}
    with pytest.raises(ModelFileError, match=f"^{re.escape(message)}"):
        ModelMetadata.from_properties(properties | {key: text})
