"""The short way: from a file and a prompt to a text."""

import os
from typing import Unpack

import numpy as np

from charrnn.runtime.model import OnnxModel
from charrnn.runtime.sampling import Sampler, fresh_seed
from charrnn.runtime.stream import encode_prompt, stream_ids
from charrnn.sampling_config import SamplingConfig, SamplingSettings

__all__ = ["generate", "generate_many", "load"]


def load(path: str | os.PathLike[str]) -> OnnxModel:
    """Load a model.onnx, or that of a run directory or a Hub address; `OnnxModel.stream` writes text from it.

    `hf://OWNER/NAME[@REVISION]` is fetched by huggingface_hub and kept in its cache.
    Raises ModelFileError where the file is missing, damaged, not a charrnn model, or of a newer format, HubError where
    it cannot be fetched.
    """
    return OnnxModel.load(path)


def generate(
    model: OnnxModel | str | os.PathLike[str],
    prompt: str = "",
    length: int = 200,
    *,
    seed: int | None = None,
    **settings: Unpack[SamplingSettings],
) -> str:
    """The normalised prompt and `length` more characters, drawn from `model` or from what it names for `load`.

    seed: the same seed gives the same text; None, another each time.
    settings: how characters are chosen, such as `temperature=0.7`: the fields of `SamplingConfig`.
    Raises ModelFileError, HubError, VocabularyError (the prompt has characters that the model lacks), ConfigError.
    """
    (text,) = generate_many(model, prompt, length, num_samples=1, seed=seed, **settings)
    return text


def generate_many(
    model: OnnxModel | str | os.PathLike[str],
    prompt: str = "",
    length: int = 200,
    *,
    num_samples: int,
    seed: int | None = None,
    **settings: Unpack[SamplingSettings],
) -> list[str]:
    """`num_samples` continuations of one prompt, made in one batch. The first is what `generate` returns.

    Raises as `generate` does.
    """
    sampler = Sampler(SamplingConfig(**settings), fresh_seed() if seed is None else seed, num_samples)
    if not isinstance(model, OnnxModel):
        model = OnnxModel.load(model)
    prompt_ids = encode_prompt(model, prompt)
    rows = np.stack(list(stream_ids(model, prompt_ids, length=length, sampler=sampler)), axis=1)
    echo = model.vocabulary.decode(prompt_ids)
    return [echo + model.vocabulary.decode(row) for row in rows]
