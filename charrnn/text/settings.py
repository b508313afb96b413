"""What a user can say of a text."""

from dataclasses import dataclass
from typing import Literal

from charrnn.errors import ConfigError
from charrnn.text.decoding import ErrorPolicy

__all__ = ["TextConfig"]


@dataclass(frozen=True, kw_only=True)
class TextConfig:
    """What is read, how it is normalised, and how it is divided."""

    corpus: tuple[str, ...] = ()
    """Files, directories, globs, `-` (standard input), http(s) addresses, hub:NAME data sets, or built-in texts."""
    sha256: str = ""
    """Checksum that an http(s) corpus must have; needed for those only."""
    column: str = "text"
    """Column of a hub: data set that holds the text."""
    hub_split: str = "train"
    """Split of a hub: data set that is read."""
    encoding: str = "utf-8"
    """Encoding of the files (a Python codec)."""
    encoding_errors: ErrorPolicy = "strict"
    """What to do with bytes that the encoding does not allow; `strict` names the file and the byte."""
    normaliser: tuple[str, ...] = ()
    """Steps applied to corpus and prompts alike: notebook, notebook-spaced, lowercase, lf, tabs, nfc, nfd, nfkc, nfkd,
    or a JSON step. Empty: the text as it is."""
    min_count: int = 0
    """Characters that the text has fewer times become U+FFFD, in prompts too; 0: none."""
    validation_fraction: float = 0.05
    """Share of the text that chooses the best checkpoint and is not trained on; 0: none, the last is best."""
    validation_at: Literal["end", "start"] = "end"
    """Where in the text that share lies: at the end, before the test split, or at the text's start. At the start it
    leaves what the test split continues (the play, the chapter) to training."""
    test_fraction: float = 0.05
    """Share of the text, at its end, that is scored once when training is over; 0: none."""

    def __post_init__(self) -> None:
        for name in ("validation_fraction", "test_fraction"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"text.{name} is {getattr(self, name)}: it must be at least 0 and below 1")
        if self.validation_fraction + self.test_fraction >= 1:
            raise ConfigError("text.validation_fraction and text.test_fraction leave nothing to train on: lower them")
        if self.min_count < 0:
            raise ConfigError(f"text.min_count is {self.min_count}: it must be at least 0")
