"""Progress bars: on stderr where that is a terminal, in the page of a notebook, nowhere else."""

import io
import multiprocessing
import sys
from html import escape
from typing import Any

from tqdm import tqdm

__all__ = ["bar"]

_NOTEBOOK_SECONDS = 0.5
"""Between two pictures of a bar, each of which is a message to the page; and before the first one of a bar that will be
taken away, whose place in the page stays."""


def bar(**settings: Any) -> "tqdm[Any]":
    """A bar of tqdm's `settings`, to be updated by hand; silent where nobody would see it.

    Where nobody does, logs stay readable.
    """
    if settings.get("disable") is None and _in_notebook():
        return _NotebookBar(**settings | {"disable": False})
    # `disable=None` is tqdm's spelling of "unless it is a terminal".
    return tqdm(**{"disable": None} | settings)


def _in_notebook() -> bool:
    """Whether what is displayed goes into a notebook; not from a process that its kernel has started."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None and multiprocessing.parent_process() is None


class _NotebookBar(tqdm):  # type: ignore[misc]  # tqdm says nothing of its types
    """A bar as HTML: tqdm's own for notebooks is a widget, which needs ipywidgets and is not kept in the file."""

    _shown: Any = None

    def __init__(self, **settings: Any) -> None:
        delay = 0.0 if settings.get("leave", True) else _NOTEBOOK_SECONDS
        super().__init__(**settings | {"file": io.StringIO(), "mininterval": _NOTEBOOK_SECONDS, "delay": delay})

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the bar as it is; nothing for an empty `msg`, by which tqdm takes a bar away."""
        from IPython.display import HTML, display

        page = HTML("" if msg == "" else self._html())  # type: ignore[no-untyped-call]
        if self._shown is None:
            self._shown = display(page, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._shown.update(page)
        return True

    def _html(self) -> str:
        figures = self.format_dict
        share = "{percentage:.0f}% " if figures["total"] else ""
        stage = "{desc} " if figures["prefix"] else ""
        words = f"{stage}{share}{{n_fmt}}/{{total_fmt}} [{{elapsed}}<{{remaining}}, {{rate_fmt}}{{postfix}}]"
        text = self.format_meter(**figures | {"bar_format": words, "ncols": None})
        progress = f'<progress value="{figures["n"]}" max="{figures["total"]}"></progress> ' if figures["total"] else ""
        return f"{progress}<code>{escape(text)}</code>"
