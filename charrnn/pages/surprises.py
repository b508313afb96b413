"""The characters at the beginning of a text with their surprises, collected while the text is scored."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from math import log

from charrnn.pages.coloured_text import ColouredCharacter, ColouredText, Passage, symbol
from charrnn.pages.scale import SURPRISE
from charrnn.scores import ScoredBlock, Scores

__all__ = ["Surprises"]


class Surprises:
    """Watches the blocks of a score go by."""

    def __init__(self, vocabulary: str, max_chars: int) -> None:
        """vocabulary: the character of each id. max_chars: how many to keep."""
        self._vocabulary = vocabulary
        self._max_chars = max_chars
        self._expected = [f"expected {symbol(each)!r}" for each in vocabulary]
        self._characters: list[ColouredCharacter] = []

    def collect(self, blocks: Iterable[ScoredBlock], *, first: Callable[[], int | None]) -> Iterator[ScoredBlock]:
        """Pass `blocks` on, and keep their first characters.

        first: tells, once a block is there, the id of the text's first character, which nothing predicts.
        """
        for block in blocks:
            if not self._characters:
                start = first()
                assert start is not None
                self._characters.append(ColouredCharacter(self._vocabulary[start], None))
            room = max(0, self._max_chars - len(self._characters))
            bits = block.nats[:room] / log(2)
            for i, b, guess in islice(zip(block.ids, bits.tolist(), block.guesses, strict=False), room):
                self._characters.append(ColouredCharacter(self._vocabulary[i], b, self._expected[guess]))
            yield block

    def text(self, title: str, scores: Scores) -> ColouredText:
        """The text, of which all that was collected is one passage, with the `scores` of the whole."""
        return ColouredText(
            title=title,
            facts=f"{scores.characters:,} characters scored · loss {scores.loss_nats:.4f} nats · "
            f"{scores.bpc:.4f} bpc · perplexity {scores.perplexity:.4g} · accuracy {scores.accuracy:.2%}",
            scale=SURPRISE,
            passages=[Passage("", self._characters)],
            chars=scores.characters + 1,
        )
