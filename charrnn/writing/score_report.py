"""charrnn-sample --score: how well a model predicts a text, read once, in bounded memory."""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from charrnn.arrays import Ids
from charrnn.errors import ConfigError, VocabularyError
from charrnn.pages.coloured_text import Heatmap
from charrnn.runtime import OnnxModel
from charrnn.scores import ScoredBlock, Scores, score_blocks
from charrnn.writing.heatmap import heatmap_of
from charrnn.writing.input import decoded, read_blocks, source_name
from charrnn.writing.options import Options
from charrnn.writing.output import say, say_why_slow, standard_output

__all__ = ["write_scores"]


def write_scores(options: Options, load: Callable[[Options], OnnxModel]) -> None:
    """Write the scores of the text that `options` name to standard output, and its heatmap to a file.

    load: called once the options are checked. Raises CharRNNError.
    """
    assert options.score is not None
    heatmap = None if options.heatmap is None else heatmap_of(options.heatmap)
    if options.heatmap is not None and _is_one_file(options.heatmap, options.score):
        raise ConfigError(f"--heatmap {options.heatmap} would replace the text: name another file")
    model = load(options)
    source = source_name(options.score, "text")
    text = _Encoded(model, source, decoded(read_blocks(options.score, source), source), options.skip_unknown)
    begin = time.perf_counter()
    blocks: Iterable[ScoredBlock] = score_blocks(model, text)
    if heatmap is not None:
        blocks = heatmap.collect(blocks, model.vocabulary.characters, first=lambda: text.first)
    if sys.stderr is not None and sys.stderr.isatty() and not options.quiet:
        blocks = _with_progress(blocks)
    scores = Scores.of(blocks)
    seconds = time.perf_counter() - begin
    if text.left_out and not options.quiet:
        say(f"left out of {source}: {text.left_out:,} characters that the model has never seen")
    with standard_output() as out:
        out(_as_json(scores, options.score, seconds) if options.json else _as_table(scores))
    if options.verbose:
        say(f"{scores.characters:,} characters in {seconds:.2f} s: {scores.characters / seconds:,.0f} a second")
        say_why_slow(model.why_single_steps)
    if heatmap is not None:
        _write_heatmap(heatmap, scores, options)


def _is_one_file(one: str, other: str) -> bool:
    try:
        return os.path.realpath(one) == os.path.realpath(other)
    except ValueError:  # no file has such a name, which is said by what opens it
        return False


class _Encoded(Iterable[Ids]):
    """The ids of a text, a piece at a time; what it has seen of the text stands in its attributes."""

    def __init__(self, model: OnnxModel, source: str, pieces: Iterable[str], skip_unknown: bool) -> None:
        self._model, self._source, self._pieces, self._skip = model, source, pieces, skip_unknown
        self.first: int | None = None
        """The id of the text's first character, which is not scored."""
        self.left_out = 0
        """Unknown characters that were skipped."""

    def __iter__(self) -> Iterator[Ids]:
        """Raises VocabularyError for an unknown character that is not to be skipped."""
        position = 0
        for piece in self._model.normaliser.stream(self._pieces):
            try:
                ids = self._model.vocabulary.encode(piece, skip_unknown=self._skip, position=position)
            except VocabularyError as error:
                raise VocabularyError(f"{self._source}: {error} (--skip-unknown)") from error
            position += len(piece)
            self.left_out += len(piece) - len(ids)
            if self.first is None and len(ids):
                self.first = int(ids[0])
            yield ids


def _with_progress(blocks: Iterable[ScoredBlock]) -> Iterator[ScoredBlock]:
    """Pass `blocks` on, and after each show on one line of the terminal what was scored so far."""
    nats, characters, line = 0.0, 0, ""
    try:
        for block in blocks:
            nats += float(block.nats.sum(dtype=np.float64))
            characters += len(block.ids)
            line = f"{characters / 1e6:.1f} million characters, {nats / characters / math.log(2):.3f} bpc so far"
            print(f"\r{line}", end="", file=sys.stderr, flush=True)
            yield block
    finally:  # what comes next, an error too, stands alone on its line
        if line:
            print(f"\r{' ' * len(line)}\r", end="", file=sys.stderr, flush=True)


def _as_table(scores: Scores) -> str:
    return (
        f"characters  {scores.characters:,}\n"
        f"loss        {scores.loss_nats:.5f} nats\n"
        f"bpc         {scores.bpc:.5f}\n"
        f"perplexity  {scores.perplexity:.5g}\n"
        f"accuracy    {scores.accuracy:.2%}\n"
    )


def _as_json(scores: Scores, path: str, seconds: float) -> str:
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
    return json.dumps(finite) + "\n"


def _write_heatmap(heatmap: Heatmap, scores: Scores, options: Options) -> None:
    heatmap.write(f"{options.score} · {options.model}", scores)
    if not options.quiet:
        shown = len(heatmap.shown)
        only = f" (its first {shown:,} characters)" if shown < scores.characters + 1 else ""
        say(f"{options.heatmap}: the text coloured by its surprise{only}")
