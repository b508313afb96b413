"""The list of wrong sources is one of the sources as they are. That each is found out: `make mutants`."""

from pathlib import Path

from charrnn.model import native
from tests.model.native_edits import EDITS


def test_each_edit_applies_once() -> None:
    room = Path(native.__file__).parent
    sources = {path.name: path.read_text() for path in room.glob("*.h")}
    assert [(sources[name].count(old), old) for name, old, _ in EDITS] == [(1, old) for _, old, _ in EDITS]
    changed = {(name, sources[name].replace(old, new)) for name, old, new in EDITS}
    assert len(changed - set(sources.items())) == len(EDITS) >= 15
