import re

import pytest

from charrnn.text.builtin import DOWNLOADS, LOCAL


def test_the_alphabet() -> None:
    (part,) = LOCAL["alphabet"]()
    assert b"".join(part.blocks()) == b"abcdefghijklmnopqrstuvwxyz" * 100
    assert part.size_bytes == 2600


def test_the_standard_library_is_all_python_and_without_tests() -> None:
    parts = LOCAL["python-stdlib"]()
    names = [part.name for part in parts]
    sizes = [part.size_bytes or 0 for part in parts]
    assert 8e6 < sum(sizes) < 20e6
    assert all(name.endswith(".py") for name in names)
    assert not [name for name in names if re.search(r"/(tests?|idle_test|site-packages|__pycache__)/", name)]
    assert any(name.endswith("/asyncio/tasks.py") for name in names)
    for part in parts:
        b"".join(part.blocks()).decode("utf-8")


@pytest.mark.parametrize("name", ["war-and-peace", "tiny-shakespeare"])
def test_downloads_are_pinned(name: str) -> None:
    assert DOWNLOADS[name].address.startswith("https://")
    assert re.fullmatch("[0-9a-f]{64}", DOWNLOADS[name].sha256)
