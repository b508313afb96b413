import re
import sys
import unicodedata
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn.text import normaliser_steps
from charrnn.text.normaliser import Normaliser
from charrnn.text.normaliser_steps import Keep, Lowercase, Newlines, Tabs, UnicodeForm

# Characters that look around: sigma at a word's end, CR LF, marks that compose or are reordered, jamo, kana voicing,
# a Bengali vowel of two parts, ligatures and width variants of the compatibility forms, a lone surrogate.
RESTLESS = (
    "aeAΣσς \r\n" + "\u0301\u0323\u0327\u0345éÅ\u212b\u1e69İ" + "\u1112\u1161\u11ab한가" + "\u304b\u3099\uff76\uff9e"
)
RESTLESS += "\u09c7\u09be" + "ﬁ①ａǅ" + "д日𝄞\ud800"
LINES = st.lists(st.sampled_from(["\n", " ", " " * 5, " " * 12, "\t", "a", "\r", ""]), max_size=6).map("".join)
CHUNKS = st.lists(st.text(st.sampled_from(RESTLESS), max_size=6) | LINES, max_size=8)
STEPS = [
    Lowercase(),
    Keep("a\u0301\r\n가"),
    Keep("ab \u0301\u1161", "\r"),
    Newlines(),
    Tabs(),
    *(UnicodeForm(form) for form in ("NFC", "NFD", "NFKC", "NFKD")),
]


@given(CHUNKS, st.lists(st.sampled_from(STEPS), max_size=4))
def test_cuts_never_show(chunks: list[str], chosen: list[normaliser_steps.Step]) -> None:
    normaliser = Normaliser(tuple(chosen))
    whole, cut = Counter[str](), Counter[str]()
    assert "".join(normaliser.stream(chunks, cut)) == "".join(normaliser.stream(["".join(chunks)], whole))
    assert cut == whole


@given(st.text(st.sampled_from(RESTLESS)))
def test_each_step_is_its_definition(text: str) -> None:
    assert Normaliser((Lowercase(),))(text) == "".join(character.lower() for character in text)
    assert Normaliser((Newlines(),))(text) == re.sub("\r\n?", "\n", text)
    assert Normaliser((Keep("aé가"),))(text) == re.sub("[^aé가]", "", text)
    assert Normaliser((Keep("aé가", "日"),))(text) == re.sub("[^aé가]", "日", text)
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        assert Normaliser((UnicodeForm(form),))(text) == unicodedata.normalize(form, text)


def test_lowercase_is_per_code_point_everywhere() -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert Normaliser((Lowercase(),))(every) == "".join(character.lower() for character in every)
    assert Normaliser((Lowercase(),))("ΟΔΟΣ") == "οδοσ"  # str.lower says οδος


def test_fresh_characters_never_join_what_stands_before() -> None:
    joining = set()  # what can be the second half of a composite character
    for code in range(sys.maxunicode + 1):
        parts = unicodedata.decomposition(chr(code)).split()
        if len(parts) == 2 and not parts[0].startswith("<"):
            joining.add(chr(int(parts[1], 16)))
    joining |= {chr(code) for code in (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3))}  # Hangul composes by rule
    fresh = re.findall(f"[{normaliser_steps._FRESH}]", "".join(map(chr, range(sys.maxunicode + 1))))
    assert len(fresh) > 35_000
    for character in fresh:
        first = unicodedata.normalize("NFKD", character)[0]
        assert unicodedata.category(character) != "Cn"
        assert unicodedata.combining(first) == 0
        assert first not in joining


def test_a_form_holds_back_only_the_tail() -> None:
    pieces = UnicodeForm("NFC").stream(["one two e", "\u0301 three"], None)
    assert next(pieces) == "one two "
    assert list(pieces) == ["é thre", "e"]


def test_tabs_are_as_many_as_the_levels() -> None:
    code = """\
class A:
    def found(self):
        if self.names:
            self.print(first,
                       (second,
                        third),
                       '''a text
                    of two lines''')

        return not_found(self,
   \t\t         here)
\tif not:
    last = 1   # spaces    within
"""
    tabs = Normaliser((Tabs(),))
    assert (
        tabs(code).replace("\t", ">   ")
        == """\
class A:
>   def found(self):
>   >   if self.names:
>   >   >   self.print(first,
>   >   >   >   (second,
>   >   >   >   >   third),
>   >   >   >   '''a text
>   >   >   >   of two lines''')

>   >   return not_found(self,
>   >   >   here)
>   >   if not:
>   last = 1   # spaces    within
"""
    )
    assert tabs("a\r\n  b\r\n   \r\n\tc") == "a\r\n\tb\r\n   \r\n\t\tc"
    assert tabs("if x:\n    ") == "if x:\n\t"  # where a prompt ends, the model goes on


@given(CHUNKS.map("".join))
def test_tabs_stay_as_they_are(text: str) -> None:
    tabs = Normaliser((Tabs(),))
    assert tabs(tabs(text)) == tabs(text)


def test_equal_sets_are_equal_steps() -> None:
    assert Keep("cba") == Keep("abca")
    assert Keep("ab") != Keep("ab", " ")


@pytest.mark.parametrize("kept", ["a", "\U0010ffff"])
def test_keep_passes_the_whole_of_unicode(kept: str) -> None:
    every = "".join(map(chr, range(sys.maxunicode + 1)))
    assert Normaliser((Keep(kept),))(every) == kept
