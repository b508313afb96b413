"""A figure of matplotlib that shows itself, in a notebook as well, without pyplot: no display, no global state."""

import io
import warnings

from matplotlib.figure import Figure

__all__ = ["ShownFigure"]


class ShownFigure(Figure):
    """A figure that is its picture: a notebook shows it where it is the last value of a cell."""

    def png(self) -> bytes:
        """The picture as PNG; the same figure gives the same bytes."""
        image = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the title's font may lack a script: there are boxes then
            self.savefig(image, format="png")
        return image.getvalue()

    _repr_png_ = png  # what a notebook asks for
