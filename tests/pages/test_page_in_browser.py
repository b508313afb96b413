"""The page in Chromium, from file://: what a person does with it, and what can be wrong with it."""

import re
from itertools import groupby

import numpy as np
import onnx
import pytest

import charrnn
from charrnn.autocomplete.completion import Completion, EditedText
from charrnn.runtime import OnnxModel
from tests.pages.conftest import Open, Opened
from tests.pages.models import CHARACTERS, model_file

pytestmark = pytest.mark.browser
MODEL = ("gru", 2, "int8")
TIMEOUT_MS = 30_000


def suggestions(model: OnnxModel, text: str) -> list[str]:
    """The names of the buttons that are to be there after `text`."""
    found = Completion(model).suggest(EditedText(model).read(model.vocabulary.encode(text)))
    names = [re.sub("\n+", " line end ", each.text) for each in found]
    return [f"{name}, {each.probability * 100:.1f} %" for name, each in zip(names, found, strict=True)]


def await_offers(opened: Opened, text: str) -> list[str]:
    """Wait until the page offers what Python suggests after `text`."""
    expected = suggestions(opened.model, text)
    opened.page.wait_for_function(
        "(names) => JSON.stringify([...document.querySelectorAll('#continuations li:not([hidden]) button')]"
        ".map((b) => b.ariaLabel)) === JSON.stringify(names)",
        arg=expected,
        timeout=TIMEOUT_MS,
    )
    return expected


def await_message(opened: Opened, pattern: str) -> str:
    """Wait for a message that `pattern` matches, and return it."""
    opened.page.wait_for_function(
        "(p) => new RegExp(p).test(document.getElementById('message').textContent)", arg=pattern, timeout=TIMEOUT_MS
    )
    return str(opened.page.text_content("#message"))


def test_typing_completes_as_the_terminal_does(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    assert opened.page.title() == "A <novel>"
    await_offers(opened, "")
    opened.type("abc")
    await_offers(opened, "abc")
    first = Completion(opened.model).suggest(EditedText(opened.model).read(opened.model.vocabulary.encode("abc")))[0]
    assert opened.page.text_content(".ghost") == first.text
    opened.page.keyboard.press("Tab")
    assert opened.text == "abc" + first.text
    await_offers(opened, opened.text)
    second = opened.page.locator("#continuations button").nth(1)
    before, taken = opened.text, second.get_attribute("aria-label").split(",")[0].replace(" line end ", "\n")
    second.click()
    assert opened.text == before + taken
    opened.page.keyboard.press("Control+z")
    assert opened.text == before, "what was taken can be undone"


def test_the_arrow_takes_one_character_and_escape_lets_the_keyboard_out(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.type("a")
    await_offers(opened, "a")
    ghost = opened.page.text_content(".ghost")
    opened.page.keyboard.press("ArrowRight")
    assert opened.text == "a" + ghost[0]
    await_offers(opened, opened.text)
    opened.page.keyboard.press("Escape")
    assert opened.page.text_content(".ghost") == ""
    opened.page.keyboard.press("Tab")
    focused = opened.page.evaluate("document.activeElement.closest('#continuations') !== null")
    assert focused, "the continuations come next"


def test_a_continuation_stands_where_the_cursor_is(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.type("abc def")
    await_offers(opened, "abc def")
    for _ in range(4):
        opened.page.keyboard.press("ArrowLeft")
    await_offers(opened, "abc")
    assert opened.page.text_content(".ghost") == "", "it would push aside what follows"
    taken = Completion(opened.model).suggest(EditedText(opened.model).read(opened.model.vocabulary.encode("abc")))[0]
    opened.page.keyboard.press("Tab")
    assert opened.text == f"abc{taken.text} def"
    await_offers(opened, f"abc{taken.text}")


@pytest.mark.parametrize("prompt", ["a\u00e9 \U0001f600b\n", ""])
def test_it_writes_what_python_writes(open_page: Open, prompt: str) -> None:
    opened = open_page(model_file(*MODEL))
    for name, value in (("temperature", "0.9"), ("top-k", "9"), ("top-p", "0.95"), ("seed", str(2**64 - 1))):
        opened.page.fill(f"#{name}", value)
    opened.page.fill("#text", prompt)
    opened.page.select_option("#pace", "Infinity")
    opened.page.click("#write")
    await_message(opened, f"^Wrote 2000 characters with seed {2**64 - 1}$")
    expected = charrnn.generate(opened.model, prompt, length=2000, temperature=0.9, top_k=9, top_p=0.95, seed=2**64 - 1)
    assert opened.text == expected
    assert opened.page.text_content("#write") == "Write on"


def test_it_stops_and_goes_on(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.page.fill("#seed", "5")
    opened.page.click("#write")
    opened.page.wait_for_function("() => document.getElementById('text').value.length > 20", timeout=TIMEOUT_MS)
    assert opened.page.text_content("#write") == "Stop"
    opened.page.click("#write")
    await_message(opened, r"^Wrote \d+ characters with seed 5$")
    text = opened.text
    assert text == charrnn.generate(opened.model, "", length=len([*text]), temperature=0.7, seed=5)
    opened.page.wait_for_timeout(200)
    assert opened.text == text
    opened.page.click("#write")
    opened.page.wait_for_function("(n) => document.getElementById('text').value.length > n", arg=len(text) + 20)
    opened.type("abc")  # to type stops it, too
    opened.page.wait_for_function(
        "() => document.getElementById('write').textContent === 'Write on'", timeout=TIMEOUT_MS
    )
    assert opened.text.startswith(text)


def test_unknown_characters_are_named_and_left_out(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.type("ab\u00fcZ\U0001f680c")
    message = await_message(opened, "^Not in this model")
    assert message.endswith("left out: \u00fc (U+00FC), Z (U+005A), \U0001f680 (U+1F680)")
    await_offers(opened, "abc")
    opened.page.fill("#text", "abc")
    await_message(opened, "^$")


def test_an_emptied_text_begins_again(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    await_offers(opened, "")
    opened.type("abcdef")
    await_offers(opened, "abcdef")
    opened.page.keyboard.press("Control+a")
    opened.page.keyboard.press("Delete")
    assert opened.text == ""
    await_offers(opened, "")


def test_each_character_has_the_colour_of_its_surprise(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    text = "abc \U0001f600\u00e9\n\n" + CHARACTERS * 2
    opened.page.fill("#text", text)
    opened.page.check("#surprise")
    await_offers(opened, text)
    shown = opened.page.evaluate(
        "[...document.getElementById('mirror').children].map((line) => [...line.querySelectorAll('b')]"
        ".map((run) => [run.textContent, run.className]))"
    )
    ids = opened.model.vocabulary.encode(text).astype(np.int64)[:, None]
    nats, *_ = opened.model.predict(ids, opened.model.initial_state(1))
    marks = [0, *(min(8, int(each / np.log(2))) for each in nats[:, 0])]
    expected = []
    for _, line in groupby(zip(text, marks, strict=True), lambda pair: pair[0] == "\n"):
        pairs = [pair for pair in line if pair[0] != "\n"]
        runs = [(mark, "".join(c for c, _ in run)) for mark, run in groupby(pairs, lambda pair: pair[1])]
        expected += [[[run, f"c{mark}" if mark else ""] for mark, run in runs]] if runs else []
    assert [line for line in shown if line] == expected


def test_the_strip_shows_one_unit(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.type("abcde")
    opened.page.check("#unit-shown")
    opened.page.select_option("#layer", "1")
    opened.page.fill("#unit", "7")
    await_offers(opened, "abcde")
    state = opened.model.initial_state(1)
    for character in opened.model.vocabulary.encode("abcde"):
        _, state = opened.model.step(np.array([character], np.int64), state)
    told = opened.page.get_attribute("#strip", "aria-label")
    assert told == (
        f"Unit 7 of layer 1 after the last 5 characters; after the last one, e (U+0065): {state[0][1, 0, 7]:.2f}"
    )
    drawn = "new Set(document.getElementById('strip').getContext('2d').getImageData(0, 0, 65, 60).data).size"
    assert opened.page.evaluate(drawn) > 3


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("temperature", "-1", "temperature is “-1”: it must be at least 0; 0 takes the likeliest"),
        ("temperature", "warm", "temperature is “warm”: it must be at least 0; 0 takes the likeliest"),
        ("top-k", "1.5", "top-k is “1.5”: it must be a whole number, at least 0; 0 switches it off"),
        ("top-p", "0", "top-p is “0”: it must be above 0 and at most 1; 1 switches it off"),
        ("seed", str(2**64), f"seed is “{2**64}”: it must be a whole number below 2^64, or nothing"),
    ],
)
def test_settings_that_cannot_be_used_are_said(open_page: Open, name: str, value: str, message: str) -> None:
    opened = open_page(model_file(*MODEL))
    opened.page.fill(f"#{name}", value)
    opened.page.click("#write")
    assert await_message(opened, f"^{name} is") == message
    assert opened.page.get_attribute(f"#{name}", "aria-invalid") == "true"
    assert opened.text == ""
    opened.page.fill(f"#{name}", "1")
    opened.page.click("#write")
    opened.page.wait_for_function("() => document.getElementById('text').value.length > 3", timeout=TIMEOUT_MS)
    assert opened.page.get_attribute(f"#{name}", "aria-invalid") == "false"


def test_a_huge_paste_is_read_in_slices(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    text = "".join(np.random.default_rng(0).choice(list("abcdef \n"), 100_000))
    await_offers(opened, "")
    opened.page.evaluate("window.frames_ = 0; (function count() { frames_++; requestAnimationFrame(count); })()")
    opened.page.evaluate("(text) => { document.getElementById('text').value = text; }", text)
    for keys in ("Control+a", "Control+x", "Control+v"):
        opened.page.keyboard.press(keys)
    before = opened.page.evaluate("frames_")
    await_offers(opened, text)
    assert opened.page.evaluate("frames_") > before + 5, "the page was drawn while the model read"
    opened.page.check("#surprise")
    assert opened.page.locator("#mirror b").count() > 1000
    opened.type("a")
    await_offers(opened, text + "a")


def cut(page: bytes) -> bytes:
    """Without its end, from the middle of the model on."""
    return page[: page.rindex(b'id="model">') + 4000]


def changed(page: bytes) -> bytes:
    at = page.rindex(b'id="model">') + 4000
    return page[:at] + (b"A" if page[at : at + 1] != b"A" else b"B") + page[at + 1 :]


def no_base64(page: bytes) -> bytes:
    at = page.rindex(b'id="model">') + 4000
    return page[:at] + b"*" + page[at + 1 :]


DAMAGED = "^the model in this page is damaged: make the page again with charrnn-export$"


@pytest.mark.parametrize("damage", [cut, changed, no_base64, lambda page: page[: page.rindex(b"<script type")]])
def test_a_damaged_page_says_so(open_page: Open, damage: object) -> None:
    opened = open_page(model_file(*MODEL), change=damage)
    await_message(opened, DAMAGED)
    assert not opened.page.is_visible("#work")


def test_a_script_that_was_changed_does_not_run(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL), change=lambda page: page.replace(b"const COUNT = 5", b"const COUNT = 4"))
    assert opened.page.text_content("#message").startswith("The model is being opened. If this stays, the page is")
    assert "script-src" in opened.errors.pop()


def test_an_operator_that_the_page_lacks_is_named(open_page: Open) -> None:
    proto = onnx.load_from_string(model_file(*MODEL))
    next(node for node in proto.graph.node if node.op_type == "Tanh").op_type = "Softsign"
    opened = open_page(proto.SerializeToString())
    await_message(opened, "^the model uses the operator Softsign, which this page does not know")


def test_nothing_is_asked_of_the_network(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    opened.type("abc")
    await_offers(opened, "abc")
    assert opened.requests == [opened.page.url]
    refused = opened.page.evaluate(
        "new Promise((done) => { new Image().src = 'data:image/gif;base64,R0lGODlhAQABAAAAACw=';"
        " addEventListener('securitypolicyviolation', (event) => done(event.effectiveDirective)); })"
    )
    assert refused == "img-src"
    assert "img-src" in opened.errors.pop()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_small_screen(open_page: Open, scheme: str) -> None:
    opened = open_page(model_file(*MODEL), viewport={"width": 320, "height": 640}, color_scheme=scheme)
    opened.type("a" * 90 + " abc")
    opened.page.check("#surprise")
    opened.page.check("#unit-shown")
    await_offers(opened, "a" * 90 + " abc")
    assert opened.page.evaluate("document.documentElement.scrollWidth") == 320
    sizes = "['mirror', 'text'].map((id) => document.getElementById(id).getBoundingClientRect().height)"
    assert len(set(opened.page.evaluate(sizes))) == 1, "letters and cursor lie on one another"
    ground = opened.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (sum(ground) > 600) == (scheme == "light")


@pytest.mark.parametrize(("width", "size"), [(800, "14px"), (320, "16px")])
def test_what_is_written_in_columns_is_shown_in_columns(open_page: Open, width: int, size: str) -> None:
    """Letters and cursor in one font, as large as a phone wants it that does not zoom in; nothing else has it."""
    opened = open_page(model_file(*MODEL), monospaced=True, viewport={"width": width, "height": 640})
    opened.type("l\nm")
    await_offers(opened, "l\nm")
    widths = """[...document.getElementById("mirror").children].map((line) => {
        const range = document.createRange();
        range.setStart(line.firstChild, 0), range.setEnd(line.firstChild, 1);
        return range.getBoundingClientRect().width;
    })"""
    assert len(set(opened.page.evaluate(widths))) == 1
    mirror, text, seed = opened.page.evaluate(
        "['mirror', 'text', 'seed'].map((id) => getComputedStyle(document.getElementById(id)))"
        ".map((style) => [style.fontSize, style.lineHeight, style.fontFamily])"
    )
    assert mirror == text
    assert mirror[0] == size
    assert "monospace" not in seed[2]


def test_all_that_can_be_used_has_a_name(open_page: Open) -> None:
    opened = open_page(model_file(*MODEL))
    await_offers(opened, "")
    page = opened.page
    page.check("#unit-shown")
    assert page.get_by_role("textbox", name="Your text").count() == 1
    for name in ("Write on", *opened.offers()):
        assert page.get_by_role("button", name=name, exact=True).count() == 1
    for role, name in (("textbox", "temperature"), ("textbox", "seed"), ("combobox", "pace"), ("spinbutton", "unit")):
        assert page.get_by_role(role, name=name).count() == 1
    assert page.evaluate("[...document.querySelectorAll('input, select')].every((each) => each.labels.length === 1)")
    assert page.get_by_role("status").count() == 1
