"""The list of wrong native.cpps is one of the source as it is. That each is found out: `make mutants`."""

from charrnn.model import native
from tests.model.native_edits import EDITS


def test_each_edit_applies_once() -> None:
    source = native._SOURCE.read_text()
    assert [(source.count(old), old) for old, _ in EDITS] == [(1, old) for old, _ in EDITS]
    assert len({source.replace(old, new) for old, new in EDITS} - {source}) == len(EDITS) >= 15
