"""charrnn-sample's own task: continuations of a prompt, as plain text, for several temperatures, or as JSON."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from charrnn.errors import ConfigError, VocabularyError
from charrnn.runtime import OnnxModel, Sampler, SamplingConfig, fresh_seed
from charrnn.writing.continuations import Continuations
from charrnn.writing.options import Options
from charrnn.writing.output import Write, say, standard_output
from charrnn.writing.prompt import encode_prompt, from_command_line, read_prompt
from charrnn.writing.screen_text import side_by_side

__all__ = ["write_texts"]

_MIN_COLUMN_CELLS = 20
_MAX_KEPT_CHARS = 10**8
"""Characters that are held in memory until they are written: 100 MB where V is at most 256."""


def write_texts(options: Options, load: Callable[[Options], OnnxModel]) -> None:
    """Write what `options` ask for to standard output."""
    configs = _configs(options)
    seed = fresh_seed() if options.seed is None else options.seed
    samplers = [Sampler(config, seed, options.num_samples) for config in configs]
    _check_memory(options, len(samplers))
    model = load(options)
    prompt = read_prompt(options)
    prompt_ids, left_out = encode_prompt(model, prompt, skip_unknown=options.skip_unknown)
    write = _write_json if options.json else _write_one if options.temperatures is None else _write_several
    made = [
        Continuations(
            model,
            prompt_ids,
            sampler,
            length=None if options.endless else options.length,
            stop=_stop(model, options.stop),
            keep=write is not _write_one,
        )
        for sampler in samplers
    ]
    if left_out and not options.quiet:
        say(f"left out of the prompt: {', '.join(map(repr, left_out))}")
    if prompt and not len(prompt_ids) and not options.quiet:
        say("nothing is left of the prompt as the model reads it (--verbose shows its normaliser and its vocabulary)")
    random = any(config.temperature for config in configs)
    if options.seed is None and random and not (options.quiet or options.json):  # JSON has the seed
        say(f"seed {seed} (--seed {seed} writes this text again)")
    with standard_output() as out:
        write(out, made, samplers, seed, options)
    if options.verbose:
        for each in made:
            say(f"{each.total_chars:,} characters in {each.seconds:.3f} s: {_per_second(each):,.0f} a second")


def _configs(options: Options) -> list[SamplingConfig]:
    """One for each temperature that is asked for."""
    if options.temperatures is None:
        return [options.sampling]
    return [replace(options.sampling, temperature=temperature) for temperature in options.temperatures]


def _check_memory(options: Options, num_configs: int) -> None:
    texts = options.num_samples * num_configs
    if (texts > 1 or options.json) and texts * options.length > _MAX_KEPT_CHARS:
        raise ConfigError(
            f"{texts:,} texts of {options.length:,} characters are held in memory until they are written, "
            f"which is more than {_MAX_KEPT_CHARS:,} characters: ask for fewer, or for shorter ones"
        )


def _stop(model: OnnxModel, stop: str | None) -> str:
    """The stop text, normalised as a prompt is. Raises ConfigError where the model can never write it."""
    if stop is None:
        return ""
    text = model.normaliser(from_command_line(stop, "--stop"))
    try:
        model.vocabulary.encode(text)
    except VocabularyError as error:
        raise VocabularyError(f"--stop: {error}") from error
    if not text:
        raise ConfigError(f"the stop text {stop!r} is empty as the model reads it: give characters that it can write")
    return text


def _per_second(made: Continuations) -> float:
    return made.total_chars / made.seconds if made.seconds else 0.0


# The forms of output. An interrupted text ends like a whole one.


def _write_one(out: Write, made: list[Continuations], *_: object) -> None:
    """The first text as it is made, and the others, which are made in the same batch, after it."""
    (only,) = made
    out(only.prompt)
    try:
        only.make(out)
    finally:
        for row in range(1, only.num_samples):
            out(f"\n\n{only.text(row)}")
        out("\n")


def _write_several(out: Write, made: list[Continuations], samplers: list[Sampler], *_: object) -> None:
    """The texts of each temperature, side by side where a terminal is wide enough, else one under the other."""
    titles = [f"temperature {sampler.config.temperature}" for sampler in samplers]
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and columns >= len(made) * (_MIN_COLUMN_CELLS + 3):
        try:
            for each in made:
                each.make(_nothing)
        finally:
            texts = ["\n\n".join(map(each.text, range(each.num_samples))) for each in made]
            out(side_by_side(titles, texts, columns))
        return
    for number, (title, each) in enumerate(zip(titles, made, strict=True)):
        out("\n" * (number > 0) + f"--- {title} ---\n")
        _write_one(out, [each])


def _write_json(out: Write, made: list[Continuations], samplers: list[Sampler], seed: int, options: Options) -> None:
    """An object a line for each text, in ASCII: the separators of Unicode do not break its line."""
    for each, sampler in zip(made, samplers, strict=True):
        try:
            each.make(_nothing)
        finally:
            settings = asdict(sampler.config) | {"length": options.length, "stop": options.stop}
            for row in range(each.num_samples):
                out(json.dumps(_record(each, row, seed, settings)) + "\n")


def _record(made: Continuations, row: int, seed: int, settings: dict[str, Any]) -> dict[str, Any]:
    whole = made.length(row) == settings["length"]
    return {
        "text": made.text(row),
        "prompt": made.prompt,
        "ended_by": "stop" if made.stopped(row) else "length" if whole else "interruption",
        "seed": seed,
        "sample": row,
        "settings": settings,
        "characters_per_second": round(_per_second(made), 1),
    }


def _nothing(_: str) -> None:
    """Show no text while it is made."""
