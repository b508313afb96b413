"""The model card, README.md of a repository: what the model is, how good, how it is used, what it cannot do."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import Template
from typing import Any

from charrnn.config import flat
from charrnn.console import visible
from charrnn.errors import ConfigError

__all__ = ["Card", "check_license"]

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,49}")
_CELLS = {"tanh": "a tanh RNN", "gru": "a GRU", "lstm": "an LSTM"}


@dataclass(frozen=True, kw_only=True)
class Card:
    """The facts of a card."""

    repository: str
    """OWNER/NAME."""
    license: str
    """Its identifier on the Hub, such as mit; empty: none is stated."""
    settings: Mapping[str, Any]
    """Of `public_settings`."""
    text: Mapping[str, Any]
    """Of `public_text`."""
    origin: str
    """Of `public_origin`."""
    parameters: int
    """Numbers that were trained."""
    training: Mapping[str, Any]
    """The summary in the model file's metadata: step, characters_seen, losses in nats."""
    sizes: Mapping[str, int]
    """Bytes of each file that is sampled from."""
    int8_nats: float | None
    """What int8 costs on the validation split; None where it was not measured."""
    sample: str
    """What the model wrote."""
    sample_flags: str
    """The flags of charrnn-sample that write it."""
    version: str
    """Of charrnn."""

    def markdown(self) -> str:
        """The whole README.md."""
        model = self.settings["model"]
        layers = model["num_layers"]
        shape = f"{layers} layer{'s' if layers > 1 else ''} of {model['hidden_size']:,} units"
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", self.sample)), default=0))
        return _PAGE.substitute(
            front="\n".join(self._front()),
            name=self.repository.partition("/")[2],
            address=f"hf://{self.repository}",
            repository=self.repository,
            what=f"{_CELLS[model.get('cell', 'tanh')]} ({shape})",
            corpus=_code(self.text["corpus"]),
            origin=f", starting from {_code(self.origin) if '/' in self.origin else self.origin}"
            if self.origin
            else "",
            figures=_table(self._figures()),
            flags=self.sample_flags,
            sample=f"{fence}text\n{visible(self.sample)}\n{fence}",
            settings=_table(_settings(self.settings)),
            characters=f"{self.text.get('vocabulary_size', 0):,}",
            licence="" if self.license else _NO_LICENSE,
            version=self.version,
        )

    def _front(self) -> list[str]:
        """The YAML before the page, by which the Hub files the model."""
        return [
            *([f"license: {self.license}"] if self.license else []),
            *([f"base_model: {self.origin}"] if "/" in self.origin else []),
            "library_name: charrnn",
            "pipeline_tag: text-generation",
            "tags:",
            *(f"- {tag}" for tag in ("charrnn", "char-rnn", "character-level", "rnn", "onnx")),
        ]

    def _figures(self) -> list[tuple[str, str]]:
        rows = [
            ("trained on", f"{_code(self.text['corpus'])}: {self.text.get('characters', 0):,} characters"),
            ("distinct characters", f"{self.text.get('vocabulary_size', 0):,}"),
            ("parameters", f"{self.parameters:,}"),
            ("trained for", f"{self.training['step']:,} steps, {self.training['characters_seen']:,} characters"),
        ]
        for split in ("validation", "test"):
            nats = self.training.get(f"{split}_loss_nats")
            if nats is not None:
                rows.append((f"{split} loss", f"{nats:.4f} nats a character ({nats / math.log(2):.4f} bits)"))
        if self.int8_nats is not None:
            rows.append(("the same with int8 weights", f"{self.int8_nats + 0.0:+.4f} nats on the validation split"))
        return rows + [(f"`{name}`", f"{size / 1e3:,.0f} KB") for name, size in self.sizes.items()]


def check_license(identifier: str) -> None:
    """Raise ConfigError where `identifier` is not empty and cannot be one of the Hub's."""
    if identifier and not _LICENSE.fullmatch(identifier):
        raise ConfigError(
            f"the license is {identifier!r}: give the Hub's identifier of one, such as mit, apache-2.0 or cc-by-4.0"
        )


def _table(rows: Sequence[tuple[str, str]]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])


def _code(text: str) -> str:
    """`text` as code, in a line that may be of a table."""
    line = "".join(c for c in visible(" ".join(text.split())) if c not in "`|")
    return f"`{line or '?'}`"


def _settings(settings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Those that say something, as rows: ('`batch.size`', '`64`')."""
    told = {name: value for name, value in flat(settings).items() if value not in ("", [], None)}
    return [
        (f"`{name}`", _code(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
        for name, value in told.items()
    ]


_NO_LICENSE = """\
- **No licence is stated.** Whoever wants to use it asks its owner; what the text's licence asks for holds as well.
"""

_PAGE = Template("""\
---
$front
---

# $name

A character-level language model: $what, trained by charrnn $version on $corpus$origin. It reads a text
character by character and continues it.

$figures

![loss over the characters seen](loss.png)

## What it writes

    charrnn-sample $address $flags

$sample

## Use

`pip install 'charrnn[hub]'` brings numpy, onnxruntime and huggingface_hub, and no torch. What was fetched once is there
offline, too; `@` and a commit after the address pin a version. Where the repository is private, `hf auth login` first.

    charrnn-sample $address --length 500 --temperature 0.7
    charrnn-sample $address/model-int8.onnx --length 500      # smaller and mostly faster
    charrnn-sample $address --interactive
    charrnn-train other.txt --init-from $address              # goes on from its weights; needs charrnn[train]

```python
import charrnn

print(charrnn.generate("$address", length=200, temperature=0.7, seed=1))
```

In PyTorch (`charrnn[train]`):

```python
import charrnn
import torch

model = charrnn.CharRNN.from_pretrained("$address")
ids = torch.from_numpy(model.vocabulary.encode(model.vocabulary.characters[:5])).long()
logits, state = model(ids[None])  # [1, 5, V]
```

`model.onnx` is one step of the model and knows its vocabulary; any ONNX runtime can drive it without charrnn:

```python
import json

import numpy as np
import onnxruntime
from huggingface_hub import hf_hub_download

session = onnxruntime.InferenceSession(hf_hub_download("$repository", "model.onnx"))
characters = json.loads(session.get_modelmeta().custom_metadata_map["charrnn.vocabulary"])["characters"]
states = {i.name: np.zeros((i.shape[0], 1, i.shape[2]), np.float32) for i in session.get_inputs() if i.name != "token"}
token, text = 0, ""
for _ in range(200):
    logits, *after = session.run(None, {"token": np.array([token]), **states})
    states = dict(zip(states, after))
    p = np.exp((logits[0] - logits[0].max()) / 0.7)
    token = np.random.choice(len(characters), p=p / p.sum())
    text += characters[token]
print(text)
```

## Training

$settings

`config.json` has all of that, and the SHA-256 of every file here.

## Limits

- It knows which character is likely after which, in texts like the one that it read: no facts, no instructions, no
  sense of true or false. What it writes is made up, in the manner of that text and with what is objectionable in it.
- It may repeat passages of its text word for word.
- Characters other than the $characters of its vocabulary cannot be in a prompt, and are never written.
- The losses are those of this text's own last parts; on other texts they are higher.
$licence""")
