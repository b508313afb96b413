"""The short way: from a file and a prompt to a text."""

from pathlib import Path

import numpy as np

from charrnn.runtime.model import OnnxModel
from charrnn.runtime.sampling import Sampler, SamplingConfig, fresh_seed
from charrnn.runtime.stream import encode_prompt, stream_ids

__all__ = ["generate", "generate_many", "load"]


def load(path: str | Path) -> OnnxModel:
    """Load a model.onnx, or that of a run directory; `OnnxModel.stream` writes text from it.

    Raises ModelFileError where the file is missing, damaged, not a charrnn model, or of a newer format.
    """
    return OnnxModel.load(path)


def generate(
    model: OnnxModel | str | Path,
    prompt: str = "",
    length: int = 200,
    *,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> str:
    """The normalised prompt and `length` more characters, drawn from `model` or from the file or run that it names.

    `SamplingConfig` explains temperature, top_k and top_p. The same seed gives the same text; None, another each time.
    Raises ModelFileError, VocabularyError (the prompt has characters that the model lacks), ConfigError.
    """
    (text,) = generate_many(
        model, prompt, length, num_samples=1, temperature=temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    return text


def generate_many(
    model: OnnxModel | str | Path,
    prompt: str = "",
    length: int = 200,
    *,
    num_samples: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    seed: int | None = None,
) -> list[str]:
    """`num_samples` continuations of one prompt, made in one batch. The first is what `generate` returns.

    Raises as `generate` does.
    """
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    sampler = Sampler(config, fresh_seed() if seed is None else seed, num_samples)
    if not isinstance(model, OnnxModel):
        model = OnnxModel.load(model)
    prompt_ids = encode_prompt(model, prompt)
    rows = np.stack(list(stream_ids(model, prompt_ids, length=length, sampler=sampler)), axis=1)
    echo = model.vocabulary.decode(prompt_ids)
    return [echo + model.vocabulary.decode(row) for row in rows]
