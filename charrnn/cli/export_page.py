"""What charrnn-export says of a page."""

import sys
from pathlib import Path

from charrnn.console import tell, told_bytes
from charrnn.pages.writing_page import title_of

__all__ = ["page_of_file", "size"]


def page_of_file(model: Path, page: Path) -> None:
    """Write the page of a model.onnx that somebody already has, and say so; torch is not needed.

    Raises ModelFileError where the file is damaged, no charrnn model, or nothing that the page can run.
    """
    from charrnn.pages.page_file import write_page

    write_page(model, page, title_of(model.resolve()))
    tell(f"{page}: {size(page)}, with the model of {size(model)} inside", sys.stdout)


def size(file: Path) -> str:
    """The size of a file, as a message has it."""
    return told_bytes(file.stat().st_size)
