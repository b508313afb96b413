"""Text from a model: prime it with a prompt, then let it read what it writes."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from charrnn.errors import ConfigError, VocabularyError
from charrnn.runtime.model import OnnxModel
from charrnn.runtime.sampling import Sampler, SamplingConfig, fresh_seed
from charrnn.runtime.step import Ids, Logits, State, StepModel
from charrnn.text.vocabulary import Vocabulary

__all__ = ["StepModel", "encode_prompt", "generate", "generate_many", "stream_ids"]


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


def encode_prompt(model: OnnxModel, prompt: str, *, skip_unknown: bool = False) -> Ids:
    """The ids [T] of the normalised prompt. Raises VocabularyError unless `skip_unknown` leaves the unknown out."""
    return model.vocabulary.encode(model.normaliser(prompt), skip_unknown=skip_unknown)


def stream_ids(model: StepModel, prompt_ids: Ids, *, length: int, sampler: Sampler) -> Iterator[npt.NDArray[np.int64]]:
    """Continue a prompt `sampler.num_samples` times at once; yields ids [num_samples], `length` times.

    prompt_ids: integers [T]. Where T is 0 the text starts as after a line's end (see `start_id`).
    Raises ConfigError and VocabularyError at the call, before anything is yielded.
    """
    if length < 1:
        raise ConfigError(f"length is {length}: it must be at least 1")
    V = len(model.vocabulary)
    if prompt_ids.size and not (prompt_ids.min() >= 0 and prompt_ids.max() < V):
        raise VocabularyError(
            f"the prompt's ids must be at least 0 and below {V}: encode it with the model's vocabulary"
        )
    return _stream_ids(model, prompt_ids, length, sampler)


def _stream_ids(model: StepModel, prompt_ids: Ids, length: int, sampler: Sampler) -> Iterator[npt.NDArray[np.int64]]:
    logits, state = _prime(model, prompt_ids)
    logits = np.repeat(logits, sampler.num_samples, axis=0)
    state = tuple(np.repeat(part, sampler.num_samples, axis=1) for part in state)
    ids = sampler.choose(logits)
    yield ids
    for _ in range(length - 1):
        logits, state = model.step(ids, state)
        ids = sampler.choose(logits)
        yield ids


def _prime(model: StepModel, prompt_ids: Ids) -> tuple[Logits, State]:
    """Read the prompt as one text; returns the logits [1, V] of what follows, and the state."""
    if len(prompt_ids) == 0:
        prompt_ids = np.array([start_id(model.vocabulary)])
    state = model.initial_state(1)
    for token in prompt_ids.astype(np.int64).reshape(-1, 1):
        logits, state = model.step(token, state)
    return logits, state


def start_id(vocabulary: Vocabulary) -> int:
    """The character that stands, unseen, before a text without a prompt: newline, else space, else the first."""
    characters = vocabulary.characters
    return next((characters.index(start) for start in "\n " if start in characters), 0)
