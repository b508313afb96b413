"""The normaliser: named steps that text goes through before it is encoded, corpora and prompts alike."""

import difflib
import json
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self

from charrnn.errors import ConfigError
from charrnn.text.normaliser_steps import Keep, Lowercase, Newlines, Step, Tabs, UnicodeForm

__all__ = ["Normaliser"]

# The characters of the notebook that the project grew from.
_NOTEBOOK = string.ascii_lowercase + ".,!?:;()[] "

_STEPS: dict[str, Step] = {
    "lowercase": Lowercase(),
    "lf": Newlines(),
    "tabs": Tabs(),
    "nfc": UnicodeForm("NFC"),
    "nfd": UnicodeForm("NFD"),
    "nfkc": UnicodeForm("NFKC"),
    "nfkd": UnicodeForm("NFKD"),
}
_RECIPES: dict[str, tuple[Step, ...]] = {
    # As the notebook meant it: a word at a line's end runs into the next line's first.
    "notebook": (Lowercase(), Keep(_NOTEBOOK)),
    "notebook-spaced": (Lowercase(), Keep(_NOTEBOOK, " ")),
    **{name: (step,) for name, step in _STEPS.items()},
}


@dataclass(frozen=True)
class Normaliser:
    """Steps applied one after another; without any, text stays as it is."""

    steps: tuple[Step, ...] = ()

    def __call__(self, text: str) -> str:
        """Return `text` normalised."""
        return "".join(self.stream([text]))

    def stream(self, chunks: Iterable[str], dropped: Counter[str] | None = None) -> Iterator[str]:
        """Yield pieces that join to `self("".join(chunks))`, however the text is cut.

        Characters that a `keep` step removes or replaces are counted into `dropped`.
        """
        for step in self.steps:
            chunks = step.stream(chunks, dropped)
        return iter(chunks)

    @classmethod
    def named(cls, *specs: str) -> Self:
        """Return the normaliser that a command line spells: names of recipes and steps, or JSON objects for steps.

        Raises ConfigError for an unknown name or a malformed step.
        """
        return cls(tuple(step for spec in specs for step in _named(spec)))

    def to_list(self) -> list[dict[str, str]]:
        """Return the steps as JSON-able data, `{"step": name, ...}` each."""
        return [step.to_dict() for step in self.steps]

    @classmethod
    def from_list(cls, data: object) -> Self:
        """Return the normaliser that `to_list` described. Raises ConfigError for anything else."""
        if not isinstance(data, list):
            raise ConfigError(f"a normaliser must be a list of steps, not {type(data).__name__}")
        return cls(tuple(_step_from(item) for item in data))


def _named(spec: str) -> tuple[Step, ...]:
    if spec in _RECIPES:
        return _RECIPES[spec]
    if not spec.lstrip().startswith("{"):
        raise ConfigError(_unknown(spec, _RECIPES))
    try:
        data = json.loads(spec)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"normaliser step {spec!r} is not JSON: {error}") from error
    return (_step_from(data),)


def _step_from(data: object) -> Step:
    if not isinstance(data, dict) or not all(isinstance(value, str) for value in data.values()):
        raise ConfigError(f'a normaliser step must be an object of strings such as {{"step": "lf"}}, not {data!r}')
    arguments = dict(data)
    name = arguments.pop("step", None)
    if name is None:
        raise ConfigError(f'a normaliser step must name itself under "step", and {data!r} does not')
    if name == "keep" and "characters" in arguments and arguments.keys() <= {"characters", "replacement"}:
        return Keep(**arguments)
    if name == "keep":
        raise ConfigError(f'a "keep" step takes "characters" and, if wanted, "replacement", not {sorted(arguments)}')
    if name not in _STEPS:
        raise ConfigError(_unknown(name, [*_STEPS, "keep"]))
    if arguments:
        raise ConfigError(f'normaliser step "{name}" takes no arguments, not {sorted(arguments)}')
    return _STEPS[name]


def _unknown(name: str, known: Iterable[str]) -> str:
    known = list(known)
    nearest = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(known)}"
    return (
        f'unknown normaliser {name!r}; {hint} (to keep some characters only: {{"step": "keep", "characters": "..."}})'
    )
