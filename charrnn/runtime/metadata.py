"""What a model.onnx says of itself: vocabulary, normaliser, configuration, training, as JSON texts beside the graph."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from charrnn.errors import CharRNNError, ModelFileError
from charrnn.text.normaliser import Normaliser
from charrnn.text.vocabulary import Vocabulary

__all__ = ["FORMAT_VERSION", "ModelMetadata"]

FORMAT_VERSION = 1
"""Grows when a reader of the older format would misread the newer one."""


@dataclass(frozen=True, kw_only=True)
class ModelMetadata:
    """The metadata of a model file."""

    vocabulary: Vocabulary
    """The characters of the ids that the graph reads and scores."""
    normaliser: Normaliser
    """What was done to the corpus, and is done to every prompt."""
    config: dict[str, Any]
    """The model's configuration: vocabulary_size, embedding_size, hidden_size, num_layers, ..."""
    training: dict[str, Any]
    """A summary of the training, free in form: corpus, characters seen, losses in nats, ..."""

    def to_properties(self) -> dict[str, str]:
        """The ONNX `metadata_props`; `from_properties` reads them back."""
        return {
            "charrnn.format_version": str(FORMAT_VERSION),
            "charrnn.vocabulary": self.vocabulary.to_json(),
            "charrnn.normaliser": _dumps(self.normaliser.to_list()),
            "charrnn.model": _dumps(self.config),
            "charrnn.training": _dumps(self.training),
        }

    @classmethod
    def from_properties(cls, properties: Mapping[str, str]) -> Self:
        """Read the ONNX `metadata_props`.

        Raises ModelFileError where an entry is missing or malformed, or the format version is not ours.
        """
        _check_version(_entry(properties, "charrnn.format_version", int))
        try:
            return cls(
                vocabulary=Vocabulary.from_json(_text(properties, "charrnn.vocabulary")),
                normaliser=Normaliser.from_list(_entry(properties, "charrnn.normaliser", list)),
                config=_entry(properties, "charrnn.model", dict),
                training=_entry(properties, "charrnn.training", dict),
            )
        except ModelFileError:
            raise
        except CharRNNError as error:
            raise ModelFileError(f"its metadata cannot be used: {error}") from error


def _check_version(version: int) -> None:
    if version > FORMAT_VERSION:
        raise ModelFileError(
            f"it has format version {version} and this charrnn reads {FORMAT_VERSION}: install a newer charrnn"
        )
    if version < FORMAT_VERSION:
        raise ModelFileError(f"its format version {version} is unknown: export it again with `charrnn-export RUN`")


def _text(properties: Mapping[str, str], key: str) -> str:
    if key not in properties:
        raise ModelFileError(f"it is no charrnn model (no {key} in its metadata): write one with `charrnn-export RUN`")
    return properties[key]


def _entry(properties: Mapping[str, str], key: str, kind: type) -> Any:
    text = _text(properties, key)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if type(value) is not kind:
        raise ModelFileError(f"its metadata {key} is not a JSON {_JSON_NAMES[kind]}: {text[:40]!r}")
    return value


_JSON_NAMES = {int: "integer", list: "array", dict: "object"}


def _dumps(value: Any) -> str:
    return json.dumps(value, allow_nan=False)
