"""The backend that is compiled on the machine where it runs: `library.cpp` and its headers, called from `calls.py`."""

from charrnn.model.native.calls import CELLS, native, native_lookup, output_loss, why_not

__all__ = ["CELLS", "native", "native_lookup", "output_loss", "why_not"]
