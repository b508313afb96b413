from collections.abc import Iterator

import pytest

from charrnn.model.native import compiled
from tests.model.native_cpus import NATIVE


@pytest.fixture(autouse=True)
def _native_for_the_cpu_that_is_named(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """A test that has one of NATIVE among its parameters runs it; it is compiled once and found again."""
    parameters = getattr(request.node, "callspec", None)
    named = (
        [name for name in parameters.params.values() if isinstance(name, str) and NATIVE.get(name)]
        if parameters
        else []
    )
    for name in named:
        monkeypatch.setenv("CXXFLAGS", NATIVE[name])
        compiled._library_or_reason.cache_clear()
    yield
    if named:
        compiled._library_or_reason.cache_clear()
