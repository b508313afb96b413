"""A browser, and pages of random models in it, opened from the disk as by a double click."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from charrnn.pages.writing_page import writing_page
from charrnn.runtime import OnnxModel

ARGUMENTS = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
ARGUMENTS += ["--disable-component-update", "--disable-sync"]
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Opened:
    """A page in the browser, the model in it, and what it asked the network for."""

    page: Any
    file: Path
    """The model's."""
    requests: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    """What the browser's console says; there must be nothing in the end."""

    def type(self, text: str) -> None:
        """As if by keys, at the end of the text."""
        self.page.locator("#text").focus()
        self.page.keyboard.press("Control+End")
        self.page.keyboard.type(text)

    @cached_property
    def model(self) -> OnnxModel:
        """The model, in onnxruntime."""
        return OnnxModel.load(self.file)

    @property
    def text(self) -> str:
        return str(self.page.input_value("#text"))

    def offers(self) -> list[str]:
        """The names of the continuations that can be taken."""
        return [
            str(name)
            for name in self.page.evaluate(
                "[...document.querySelectorAll('#continuations li:not([hidden]) button')].map((b) => b.ariaLabel)"
            )
        ]


Open = Callable[..., Opened]


@pytest.fixture(scope="session")
def chromium(_environment: None) -> Iterator[Any]:
    """Debian's Chromium, or whichever there is."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("install: Chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # The sandbox needs a user namespace, which a container has not, and refuses root.
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS, chromium_sandbox=False)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """`open_page(model file)`: its page, opened; `change` is done to the page's bytes, `options` are the browser's.

    monospaced: whether the page is made so.
    """
    pages: list[Opened] = []

    def opened(
        file: bytes, change: Callable[[bytes], bytes] = bytes, *, monospaced: bool = False, **options: Any
    ) -> Opened:
        model = tmp_path / "model.onnx"
        model.write_bytes(file)
        path = tmp_path / "novel.html"
        path.write_bytes(change(writing_page(file, "A <novel>", monospaced=monospaced)))
        page = chromium.new_context(**options).new_page()
        made = Opened(page, model)
        page.on("request", lambda request: made.requests.append(request.url))
        page.on("pageerror", lambda error: made.errors.append(str(error)))
        page.on("console", lambda message: made.errors.append(message.text))
        page.goto(path.as_uri())
        pages.append(made)
        return made

    yield opened
    for each in pages:
        each.page.context.close()
    assert [error for each in pages for error in each.errors] == []
