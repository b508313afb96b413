"""charrnn-sample without --score and --interactive: continuations of a prompt, as plain text or as JSON."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from charrnn.errors import ConfigError, VocabularyError
from charrnn.runtime import OnnxModel, Sampler, SamplingConfig, fresh_seed
from charrnn.writing.continuations import Continuations
from charrnn.writing.input import encode_prompt, from_command_line, read_prompt
from charrnn.writing.options import Options
from charrnn.writing.output import Write, say, say_why_slow, standard_output
from charrnn.writing.screen_text import side_by_side

__all__ = ["write_texts"]

_MIN_COLUMN_CELLS = 20
_MAX_KEPT_CHARS = 10**8
"""Characters that are held in memory until they are written: 100 MB where V is at most 256."""


def write_texts(options: Options, load: Callable[[Options], OnnxModel]) -> None:
    """Write the texts that `options` ask for to standard output, and what the user is to know to standard error.

    load: called once the options are checked. Raises CharRNNError.
    """
    seed = fresh_seed() if options.seed is None else options.seed
    samplers = [Sampler(config, seed, options.num_samples) for config in _configs(options)]
    _check_memory(options, len(samplers))
    model = load(options)
    prompt = read_prompt(options)
    prompt_ids, left_out = encode_prompt(model, prompt, skip_unknown=options.skip_unknown)
    continuations = [
        Continuations(
            model,
            prompt_ids,
            sampler,
            length=None if options.endless else options.length,
            stop=_stop(model, options.stop),
            keep=options.json or options.temperatures is not None,
        )
        for sampler in samplers
    ]
    if not options.quiet:
        _say_what_is_lost(prompt, left_out, nothing_left=not len(prompt_ids))
        if options.seed is None and not options.json and any(s.config.temperature for s in samplers):  # JSON has it
            say(f"seed {seed} (--seed {seed} writes this text again)")
    with standard_output() as out:
        if options.json:
            _write_json(out, continuations, options)
        elif options.temperatures is None:
            _write_samples(out, continuations[0])
        else:
            _write_temperatures(out, continuations)
    if options.verbose:
        for each in continuations:
            say(f"{each.total_chars:,} characters in {each.seconds:.3f} s: {_per_second(each):,.0f} a second")
        say_why_slow(model.why_single_steps)


def _configs(options: Options) -> list[SamplingConfig]:
    """One for each temperature that is asked for."""
    if options.temperatures is None:
        return [options.sampling]
    return [replace(options.sampling, temperature=temperature) for temperature in options.temperatures]


def _check_memory(options: Options, num_samplers: int) -> None:
    texts = options.num_samples * num_samplers
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


def _say_what_is_lost(prompt: str, left_out: list[str], *, nothing_left: bool) -> None:
    if left_out:
        say(f"left out of the prompt: {', '.join(map(repr, left_out))}")
    if prompt and nothing_left:
        say("nothing is left of the prompt as the model reads it (--verbose shows its normaliser and its vocabulary)")


def _per_second(made: Continuations) -> float:
    return made.total_chars / made.seconds if made.seconds else 0.0


# The forms of output. Each writes in a `finally` what was made until an interruption, in the form of a whole text.


def _write_samples(out: Write, made: Continuations) -> None:
    """The first text while it is made, then the others, which are made in the same batch."""
    out(made.prompt)
    try:
        made.make(out)
    finally:
        for row in range(1, made.num_samples):
            out(f"\n\n{made.text(row)}")
        out("\n")


def _write_temperatures(out: Write, continuations: list[Continuations]) -> None:
    """The texts of each temperature: side by side where a terminal is wide enough, else one under the other."""
    titles = [f"temperature {each.config.temperature}" for each in continuations]
    columns = shutil.get_terminal_size().columns
    if sys.stdout.isatty() and columns >= len(continuations) * (_MIN_COLUMN_CELLS + 3):
        try:
            for each in continuations:
                each.make(_show_nothing)
        finally:
            texts = ["\n\n".join(map(each.text, range(each.num_samples))) for each in continuations]
            out(side_by_side(titles, texts, columns))
        return
    for number, (title, each) in enumerate(zip(titles, continuations, strict=True)):
        out("\n" * (number > 0) + f"--- {title} ---\n")
        _write_samples(out, each)


def _write_json(out: Write, continuations: list[Continuations], options: Options) -> None:
    """A line for each text, a JSON object in ASCII: some readers would break a line at Unicode's line separators."""
    for each in continuations:
        try:
            each.make(_show_nothing)
        finally:
            for row in range(each.num_samples):
                out(json.dumps(_record(each, row, options)) + "\n")


def _record(made: Continuations, row: int, options: Options) -> dict[str, Any]:
    whole = made.length(row) == options.length
    return {
        "text": made.text(row),
        "prompt": made.prompt,
        "ended_by": "stop" if made.stopped(row) else "length" if whole else "interruption",
        "seed": made.seed,
        "sample": row,
        "settings": asdict(made.config) | {"length": options.length, "stop": options.stop},
        "characters_per_second": round(_per_second(made), 1),
    }


def _show_nothing(_: str) -> None:
    """For texts that are written when they are whole."""
