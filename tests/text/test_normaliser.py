import json
import re
from collections import Counter
from pathlib import Path

import pytest

from charrnn.errors import ConfigError
from charrnn.text.normaliser import Normaliser
from charrnn.text.normaliser_steps import Keep, Lowercase, Newlines, UnicodeForm

GOLDEN = Path(__file__).parent.parent / "golden" / "normaliser.json"
EVERY_STEP = (
    "lowercase",
    "lf",
    "nfc",
    "nfd",
    "nfkc",
    "nfkd",
    '{"step": "keep", "characters": "é b\\na"}',
    "notebook-spaced",
)
NOVEL = '"Well, Prince\u2014\r\nsaid ÉTIENNE [1]; (so) it: is?!"'


def test_without_steps_text_stays_as_it_is() -> None:
    assert Normaliser()("A\r\n\ufeff\tÉ") == "A\r\n\ufeff\tÉ"
    assert Normaliser.named() == Normaliser()


def test_the_notebooks_normaliser_deletes() -> None:
    assert Normaliser.named("notebook")(NOVEL) == "well, princesaid tienne []; (so) it: is?!"


def test_the_spaced_one_keeps_words_apart() -> None:
    assert Normaliser.named("notebook-spaced")(NOVEL) == " well, prince   said  tienne [ ]; (so) it: is?! "


@pytest.mark.parametrize("character", "abcdefghijklmnopqrstuvwxyz.,!?:;()[] ")
def test_the_notebooks_characters_pass(character: str) -> None:
    assert Normaliser.named("notebook")(character) == character
    assert Normaliser.named("notebook-spaced")(character) == character


def test_steps_run_in_order() -> None:
    keep = '{"step": "keep", "characters": "a"}'
    assert Normaliser.named("lowercase", keep)("Aa") == "aa"
    assert Normaliser.named(keep, "lowercase")("Aa") == "a"


def test_dropped_characters_are_counted_over_all_chunks() -> None:
    dropped: Counter[str] = Counter()
    normaliser = Normaliser.named("notebook-spaced")
    assert "".join(normaliser.stream(["A-b-\n", "É", "", "-"], dropped)) == "a b    "
    assert dropped == {"-": 3, "\n": 1, "é": 1}


def test_names_and_steps_mean_the_same() -> None:
    keep = '{"step": "keep", "characters": "cab", "replacement": "?"}'
    expected = (Lowercase(), Newlines(), UnicodeForm("NFKD"), Keep("abc", "?"))
    assert Normaliser.named("lowercase", "lf", "nfkd", keep) == Normaliser(expected)
    assert Normaliser.named("nfc") != Normaliser.named("nfd")


def test_the_description_survives_json() -> None:
    normaliser = Normaliser.named(*EVERY_STEP)
    assert Normaliser.from_list(json.loads(json.dumps(normaliser.to_list()))) == normaliser


def test_the_description_is_the_same_for_ever() -> None:
    normaliser = Normaliser.named(*EVERY_STEP)
    assert (json.dumps(normaliser.to_list(), indent=1) + "\n").encode() == GOLDEN.read_bytes()
    assert Normaliser.from_list(json.loads(GOLDEN.read_bytes())) == normaliser


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("notebok", "unknown normaliser 'notebok'; did you mean 'notebook'?"),
        ("lower-case", "unknown normaliser 'lower-case'; did you mean 'lowercase'?"),
        ("", "unknown normaliser ''; known: notebook, notebook-spaced, lowercase"),
        ('{"step": "nfx"}', "unknown normaliser 'nfx'; did you mean"),
        ('{"step": "notebook"}', "unknown normaliser 'notebook'"),
        ('{"step": ', "is not JSON"),
        ('{"characters": "a"}', 'must name itself under "step"'),
        ('{"step": "keep"}', 'takes "characters" and, if wanted, "replacement", not []'),
        ('{"step": "keep", "characters": "a", "case": "x"}', "not ['case', 'characters']"),
        ('{"step": "keep", "characters": ["a"]}', "must be an object of strings"),
        ('{"step": "keep", "characters": ""}', "at least one character to keep"),
        ('{"step": "keep", "characters": "a", "replacement": "--"}', "must be one character or none, not '--'"),
        ('{"step": "lf", "style": "crlf"}', "takes no arguments, not ['style']"),
    ],
)
def test_what_is_no_step_is_refused(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Normaliser.named(spec)


@pytest.mark.parametrize("data", [None, {}, "lowercase", ["lowercase"], [{"step": 1}], [{}]])
def test_what_is_no_list_of_steps_is_refused(data: object) -> None:
    with pytest.raises(ConfigError, match="normaliser"):
        Normaliser.from_list(data)
