"""A string as an array of its code points, and back: what makes table look-ups over text vectorised."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["NUM_CODE_POINTS", "code_points", "text_of"]

NUM_CODE_POINTS = 0x110000
"""Code points of Unicode: every value of `code_points` is below."""


def code_points(text: str) -> NDArray[np.uint32]:
    """Return the code points of `text`: uint32 [len(text)], read-only; lone surrogates pass."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def text_of(codes: NDArray[np.integer]) -> str:
    """Return the text whose code points are `codes` [n], each below `NUM_CODE_POINTS`."""
    return codes.astype("<u4", copy=False).tobytes().decode("utf-32-le", "surrogatepass")
