"""Garbage is not looked for while the libraries are imported, and is looked for again afterwards."""

import gc

import pytest

from charrnn.garbage import no_garbage_collection


def test_an_error_changes_nothing_about_that() -> None:
    def fail() -> None:
        with no_garbage_collection():
            assert not gc.isenabled()
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()


def test_who_had_switched_it_off_finds_it_so() -> None:
    gc.disable()
    try:
        with no_garbage_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
