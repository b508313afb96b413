"""charrnn-sample --score: how well a model predicts a text, read once, in bounded memory."""

import json
import math
import os
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from charrnn.errors import ConfigError
from charrnn.pages.coloured_text import ColouredText, Picture
from charrnn.pages.scale import ACTIVITY
from charrnn.pages.surprises import Surprises
from charrnn.runtime import OnnxModel
from charrnn.scores import ScoredBlock, Scores, score_blocks
from charrnn.writing.encoded_text import EncodedText
from charrnn.writing.heatmap import picture_for
from charrnn.writing.input import decoded, read_blocks, source_name
from charrnn.writing.options import Options
from charrnn.writing.output import say, say_why_slow, standard_output
from charrnn.writing.progress import with_progress
from charrnn.writing.units_report import MAX_CHARS, UnitsReport, check_units, chosen_units, look

__all__ = ["write_scores"]


def write_scores(options: Options, load: Callable[[Options], OnnxModel]) -> None:
    """Write the scores of the text that `options` name, and what units see in it, to standard output; and its picture.

    load: called once the options are checked. Raises CharRNNError.
    """
    assert options.score is not None
    picture = _picture(options)
    units = chosen_units(options)
    model = load(options)
    check_units(units, model)
    source = source_name(options.score, "text")
    text = EncodedText(
        model, source, decoded(read_blocks(options.score, source), source), options.skip_unknown, keep=MAX_CHARS
    )
    asked = options.units or bool(units)
    draw_chars = picture.max_chars if picture else 0
    surprises = Surprises(model.vocabulary.characters, 0 if asked else draw_chars)
    scores, seconds = _score(model, text, surprises, options)
    if text.left_out and not options.quiet:
        say(f"left out of {source}: {text.left_out:,} characters that the model has never seen")
    beginning, chars = text.beginning, scores.characters + 1
    report = look(model, beginning, chars, units, options, draw_chars=draw_chars) if asked else None
    with standard_output() as out:
        out(_as_json(scores, report, options.score, seconds) if options.json else _as_table(scores, report))
    if options.verbose:
        say(f"{scores.characters:,} characters in {seconds:.2f} s: {scores.characters / seconds:,.0f} a second")
        say_why_slow(model.why_single_steps)
    if picture is not None:
        title = f"{options.score} · {options.model}"
        coloured = surprises.text(title, scores) if report is None else report.text(title, model, picture.max_chars)
        _write_picture(picture, coloured, options)


def _picture(options: Options) -> Picture | None:
    if options.heatmap is None:
        return None
    picture = picture_for(options.heatmap)
    if _is_one_file(options.heatmap, options.score or ""):
        raise ConfigError(f"--heatmap {options.heatmap} would replace the text: name another file")
    return picture


def _is_one_file(one: str, other: str) -> bool:
    try:
        return os.path.realpath(one) == os.path.realpath(other)
    except ValueError:  # no file has such a name, which is said by what opens it
        return False


def _score(model: OnnxModel, text: EncodedText, surprises: Surprises, options: Options) -> tuple[Scores, float]:
    """The scores of `text`, and the seconds that they took; `surprises` sees them all."""
    begin = time.perf_counter()
    nats, characters = 0.0, 0

    def told(block: ScoredBlock) -> str:
        nonlocal nats, characters
        nats += float(block.nats.sum(dtype=np.float64))
        characters += len(block.ids)
        return f"{characters / 1e6:.1f} million characters, {nats / characters / math.log(2):.3f} bpc so far"

    blocks: Iterable[ScoredBlock] = score_blocks(model, text)
    blocks = surprises.collect(blocks, first=lambda: int(text.beginning[0]))
    scores = Scores.of(with_progress(blocks, told, quiet=options.quiet))
    return scores, time.perf_counter() - begin


def _as_table(scores: Scores, report: UnitsReport | None) -> str:
    return (
        f"characters  {scores.characters:,}\n"
        f"loss        {scores.loss_nats:.5f} nats\n"
        f"bpc         {scores.bpc:.5f}\n"
        f"perplexity  {scores.perplexity:.5g}\n"
        f"accuracy    {scores.accuracy:.2%}\n"
    ) + (report.as_table() if report else "")


def _as_json(scores: Scores, report: UnitsReport | None, path: str, seconds: float) -> str:
    facts: dict[str, Any] = {
        "text": path,
        "characters": scores.characters,
        "loss_nats": scores.loss_nats,
        "bpc": scores.bpc,
        "perplexity": scores.perplexity,
        "accuracy": scores.accuracy,
        "characters_per_second": round(scores.characters / seconds, 1),
    }
    # JSON has no infinity, which a model that is quite sure and wrong can reach.
    finite = {
        name: None if isinstance(fact, float) and not math.isfinite(fact) else fact for name, fact in facts.items()
    }
    return json.dumps(finite | ({"units": report.as_json()} if report else {})) + "\n"


def _write_picture(picture: Picture, text: ColouredText, options: Options) -> None:
    shown = picture.write(text)
    if not options.quiet:
        only = "" if shown.is_whole else f" (its first {shown.shown:,} characters)"
        units = "units" if options.unit is None or "," in options.unit else "a unit"
        what = f"the activity of {units}" if shown.scale is ACTIVITY else "its surprise"
        say(f"{options.heatmap}: the text coloured by {what}{only}")
