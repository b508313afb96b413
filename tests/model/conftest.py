from collections.abc import Iterator
from pathlib import Path

import pytest

from charrnn.model import native

# Each instruction number by number (tests/model/emulated): slow, but the same source, and built in two seconds.
EMULATION = ["-Og", "-march=native", "-D__AVX512BF16__", "-I", str(Path(__file__).with_name("emulated"))]


@pytest.fixture(scope="module", autouse=True)
def _native_on_any_cpu() -> Iterator[None]:
    """Where this CPU has no AVX-512, the tests of this room run native.cpp with its instructions emulated."""
    with pytest.MonkeyPatch.context() as patch:
        if native._why_not_here():
            patch.setattr(native, "_FOR_THIS_CPU", EMULATION)
            patch.setattr(native, "_why_not_here", lambda: "")
            native._library.cache_clear()
        yield
    native._library.cache_clear()
