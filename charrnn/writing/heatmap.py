"""--heatmap: the kind of picture that the ending of a file's name asks for."""

import importlib.util
from pathlib import Path

from charrnn.console import importing
from charrnn.errors import ConfigError, reason
from charrnn.pages.coloured_text import Picture
from charrnn.writing.output import COMMAND

__all__ = ["picture_for"]


def picture_for(name: str) -> Picture:
    """What a coloured text is to be written to: the file `name`, as HTML or PNG by its ending.

    Raises ConfigError for another ending, and for PNG where there is no matplotlib.
    """
    path = Path(name)
    kind = path.suffix.lower()
    try:
        path.lstat()
    except OSError:
        pass  # it does not exist yet; any other problem is reported when it is written
    except ValueError as error:
        raise ConfigError(f"--heatmap {name!r} is no name of a file ({reason(error)}): give another") from error
    if kind in (".html", ".htm"):
        with importing(COMMAND):
            from charrnn.pages.html import HtmlPage
        return HtmlPage(path)
    if kind != ".png":
        raise ConfigError(f"--heatmap {name!r} is neither .html nor .png: name a file that ends in one of them")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError(
            "a .png heatmap needs matplotlib: pip install matplotlib, or name an .html file, which needs nothing"
        )
    with importing(COMMAND):
        from charrnn.pages.png import PngPicture
    return PngPicture(path)
