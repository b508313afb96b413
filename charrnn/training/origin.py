"""Where the first weights come from: fine-tuning starts a new run from another run's model, or one of the Hub."""

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from charrnn.errors import RunError
from charrnn.hub import is_address
from charrnn.model import CharRNN
from charrnn.runs.choice import find_checkpoint
from charrnn.runs.messages import warn
from charrnn.runs.pretrained import is_pretrained, read_pretrained
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.data import RunText

__all__ = ["start_from"]

_PER_CHARACTER = ("embedding.weight", "fc.weight", "fc.bias")
"""Parameters with a row for each character."""
_SIZES = ("embedding_size", "hidden_size", "num_layers")
_NEW_SHOWN = 8
_CHUNK = 2**24


@dataclass(frozen=True, kw_only=True)
class _Origin:
    """The model that is started from."""

    name: str
    """What to call it in messages."""
    architecture: dict[str, Any]
    """Its sizes and its cell, as settings."""
    vocabulary: Vocabulary
    """The characters of its rows."""
    tensors: dict[str, torch.Tensor]
    """Its parameters, by their names in CharRNN."""


def start_from(source: str, model: CharRNN, text: RunText) -> str:
    """Give `model` the weights of what `source` names; returns a line to show.

    That is a run, one of its checkpoints, a folder that `save_pretrained` made, or `hf://OWNER/NAME[@REVISION]`. The
    vocabularies may differ: a character that both have takes its rows along, one that only the new text has starts as
    in any new model. Raises RunError where the architectures differ or no character is common, HubError.
    """
    origin = _pretrained(source) if is_address(source) or is_pretrained(Path(source)) else _run(source)
    before, now = origin.vocabulary, text.prepared.vocabulary
    common = [character for character in now.characters if character in set(before.characters)]
    if not common:
        raise RunError(f"{source}: has no character in common with {text.prepared.description}: start without it")
    _copy(origin, model, before.encode("".join(common)), now.encode("".join(common)), source)
    return f"{origin.name}: {_coverage(text, now, set(common))}"


def _run(source: str) -> _Origin:
    directory, checkpoint = find_checkpoint(source, "init_from is {}: it must be", warn)
    return _Origin(
        name=f"{source}, step {checkpoint.progress.step:,}",
        architecture={"cell": "tanh"} | checkpoint.config["model"],  # 0.1.0 had no other, and did not say so
        vocabulary=directory.read_vocabulary()[0],
        tensors=checkpoint.model,
    )


def _pretrained(source: str) -> _Origin:
    found = read_pretrained(source)
    if found.vocabulary is None:
        raise RunError(f"{source}: has no vocabulary.json, which says whose rows its weights are: name another model")
    return _Origin(name=source, architecture=asdict(found.config), vocabulary=found.vocabulary, tensors=found.tensors)


@torch.no_grad()
def _copy(origin: _Origin, model: CharRNN, theirs: np.ndarray, ours: np.ndarray, source: str) -> None:
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(value.shape[name in _PER_CHARACTER :]) for name, value in origin.tensors.items()}
    if shapes != {name: tuple(value.shape[name in _PER_CHARACTER :]) for name, value in parameters.items()}:
        before = origin.architecture
        names = [*(["cell"] if before["cell"] != model.config.cell else []), *_SIZES]
        flags = " ".join(f"--model.{name.replace('_', '-')} {before[name]}" for name in names)
        raise RunError(f"{source}: is a model of other sizes: give {flags}")
    for name, value in origin.tensors.items():
        if name in _PER_CHARACTER:
            parameters[name][torch.from_numpy(ours.astype(np.int64))] = value[torch.from_numpy(theirs.astype(np.int64))]
        else:
            parameters[name].copy_(value)


def _coverage(text: RunText, vocabulary: Vocabulary, known: set[str]) -> str:
    """How many characters of the new text the other model knew, of those that are distinct and of all."""
    stream = text.prepared.stream
    counts = np.zeros(len(vocabulary), np.int64)
    for start in range(0, len(stream), _CHUNK):
        counts += np.bincount(stream.read(start, min(start + _CHUNK, len(stream))), minlength=len(vocabulary))
    by_character = Counter(dict(zip(vocabulary.characters, counts.tolist(), strict=True)))
    share = sum(by_character[character] for character in known) / len(stream)
    new = [(character, count) for character, count in by_character.most_common() if character not in known]
    line = f"{len(known)} of {len(vocabulary)} characters known, {share:.2%} of the text"
    if new:
        shown = ", ".join(f"{character!r} {count:,}" for character, count in new[:_NEW_SHOWN])
        line += f"; new: {shown}" + (f" and {len(new) - _NEW_SHOWN} others" if len(new) > _NEW_SHOWN else "")
    return line
