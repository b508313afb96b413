"""The editor of charrnn-sample --interactive: what keys do to the text, and what the screen shows.

The screen is drawn on standard error. Standard output gets the text when it is done.
"""

import importlib.util
import os
import sys
import unicodedata
from collections.abc import Callable
from itertools import groupby

from charrnn.autocomplete.completion import Completion, EditedText, Suggestion
from charrnn.console import importing
from charrnn.errors import CharRNNError, ConfigError
from charrnn.runtime import OnnxModel
from charrnn.writing.input import encode_prompt, read_prompt
from charrnn.writing.options import Options
from charrnn.writing.output import COMMAND, standard_output
from charrnn.writing.screen_text import cells, visible, wrap

__all__ = ["Editor", "autocomplete", "screen"]

TAB, DONE, DELETE_WORD, DELETE_ALL = "\t", "\x04", "\x17", "\x15"
BACKSPACE = ("\x7f", "\b")
UP, DOWN, RIGHT = ("\x1b[A", "\x1bOA"), ("\x1b[B", "\x1bOB"), ("\x1b[C", "\x1bOC")
_HELP = "Tab takes it · ↑ ↓ choose · → takes one character · Ctrl-D done"
_MOVE_CHARS = 4096
_DIM, _BOLD, _PLAIN = "\x1b[2m", "\x1b[1m", "\x1b[0m"


def autocomplete(options: Options, load: Callable[[Options], OnnxModel]) -> None:
    """Edit a text that begins with the prompt; write it to standard output at the end, interrupted or not.

    load: called once the options and the terminal are checked. Raises CharRNNError.
    """
    _check_terminal(options)
    model = load(options)
    prompt = read_prompt(options)
    encode_prompt(model, prompt, skip_unknown=options.skip_unknown)
    editor = Editor(model)
    editor.type(prompt)
    with standard_output() as out:
        try:
            _edit(editor)
        finally:
            out(editor.text + "\n")


def _check_terminal(options: Options) -> None:
    for stream, name in ((sys.stdin, "standard input"), (sys.stderr, "standard error")):
        if stream is None or not stream.isatty():
            raise ConfigError(f"--interactive needs a terminal, and {name} is none: leave out its redirection")
    if options.prompt_file == "-":
        raise ConfigError("--interactive reads keys from standard input: name a file for --prompt-file")
    if importlib.util.find_spec("termios") is None:
        raise ConfigError("--interactive needs a POSIX terminal (termios), which this system lacks: use --prompt")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise ConfigError("--interactive draws on the terminal, and TERM says that it cannot: set TERM, as to xterm")


def _edit(editor: "Editor") -> None:
    with importing(COMMAND):
        from charrnn.autocomplete.terminal import Keyboard, draw, drawable, size
    keyboard, out = sys.stdin.fileno(), sys.stderr.fileno()
    try:
        with drawable(keyboard, out):
            keys = Keyboard(keyboard)
            while not editor.done:
                if not keys.has_more():  # text that is being pasted is drawn once
                    draw(out, screen(editor, *size(out)))
                editor.press(keys.read())
    except OSError as error:
        raise CharRNNError(f"the terminal is gone ({error.strerror}): start again in another") from error


class Editor:
    """A text, the model's suggestions after it, and what keys do to them."""

    def __init__(self, model: OnnxModel) -> None:
        self.text = ""
        self.chosen = 0
        """Which of the suggestions Tab takes."""
        self.message = ""
        self.done = False
        self._model = model
        self._known = set(model.vocabulary.characters)
        self._edited = EditedText(model)
        self._completion = Completion(model)
        self._suggestions: tuple[str, list[Suggestion]] | None = None

    @property
    def suggestions(self) -> list[Suggestion]:
        """The likeliest continuations of the text as it is now."""
        if self._suggestions is None or self._suggestions[0] != self.text:
            place = self._edited.read(self._model.vocabulary.encode(self.text))
            self._suggestions = self.text, self._completion.suggest(place)
        return self._suggestions[1]

    def press(self, keys: list[str]) -> None:
        """Do what each of `keys` says; an empty list means that the terminal is gone."""
        self.done = not keys
        for typed, group in groupby(keys, _is_text):
            if typed:
                self.type("".join(group).replace("\r", "\n"))
                continue
            for key in group:
                self._command(key)
                if self.done:
                    return

    def type(self, characters: str) -> None:
        """Add `characters` as the model reads them, and say which it does not know."""
        before = self.text
        after = self._model.normaliser(before + characters)
        unknown = set(after) - self._known
        self.text = "".join(c for c in after if c in self._known) if unknown else after
        if not unknown and self.text == before:  # the normaliser deletes them, or has them in what is there
            unknown = {character for character in characters if not self._model.normaliser(character)}
        self.chosen = 0
        self.message = f"not in this model's texts: {' '.join(map(repr, sorted(unknown)))}" if unknown else ""

    def _command(self, key: str) -> None:
        self.message = ""
        if key in UP or key in DOWN:
            move = 1 if key in DOWN else -1
            self.chosen = (self.chosen + move) % max(1, len(self.suggestions))
            return
        if key == TAB or key in RIGHT:
            taken = self.suggestions[self.chosen].text if self.suggestions else ""
            self.text += taken if key == TAB else taken[:1]
        elif key in BACKSPACE:
            self.text = self.text[:-1]
        elif key == DELETE_WORD:
            self.text = self.text.rstrip()
            self.text = self.text[: max(map(self.text.rfind, " \n")) + 1]
        elif key == DELETE_ALL:
            self.text = ""
        elif key == DONE:
            self.done = True
        else:
            return
        self.chosen = 0


def _is_text(key: str) -> bool:
    return key in "\r\n" or (len(key) == 1 and unicodedata.category(key) != "Cc")


def screen(editor: Editor, columns: int, rows: int) -> str:
    """What is sent to a terminal of that size: the end of the text, the cursor, the suggestions, a line of help."""
    shown = editor.suggestions[: max(0, rows - 3)]
    room = max(1, rows - len(shown) - 2)
    # Only the end of a long text is wrapped at each key. Where it begins moves rarely, by many characters at once: in
    # between, the lines on the screen stay as they are.
    begin = max(0, len(editor.text) - rows * columns) // _MOVE_CHARS * _MOVE_CHARS
    lines = wrap(visible(editor.text[begin:]), max(2, columns - 1))[-room:]
    ghost = _printed(editor.suggestions[editor.chosen].text) if editor.suggestions else ""
    ghost = _cut(ghost, columns - 1 - cells(lines[-1]))
    below = ["", *(_suggestion(each, number == editor.chosen, columns) for number, each in enumerate(shown))]
    below.append(_DIM + _cut(editor.message or _HELP, columns - 1) + _PLAIN)
    body = [*lines[:-1], lines[-1] + _DIM + ghost + _PLAIN, *below][:rows]
    drawn = "\r\n".join(line + "\x1b[K" for line in body)
    return f"\x1b[H{drawn}\x1b[J\x1b[{len(lines)};{cells(lines[-1]) + 1}H"


def _suggestion(suggestion: Suggestion, chosen: bool, columns: int) -> str:
    line = _cut(f"{'▸' if chosen else ' '} {suggestion.probability:6.1%}  {_printed(suggestion.text)}", columns - 1)
    return f"{_BOLD}{line}{_PLAIN}" if chosen else line


def _printed(text: str) -> str:
    """`text` on one line, with symbols for spaces, tabs and line ends."""
    return visible(text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "·"))


def _cut(text: str, width: int) -> str:
    """As much of the visible `text` as `width` cells show."""
    text = text[: max(0, width)]
    while cells(text) > width:
        text = text[:-1]
    return text
