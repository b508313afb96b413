"""docs/notebook.ipynb: it runs from the first cell to the last, and what is committed is what a run has put there."""

import pydoc_data.topics
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

from tests.conftest import ROOT, TIMEOUT_SECONDS

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def written() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def words_of(cell: NotebookNode) -> str:
    """All that a reader sees under a cell as text."""
    said = [output.get("text", "") for output in cell.outputs]
    return "\n".join(said + [output.get("data", {}).get("text/html", "") for output in cell.outputs])


def kinds_of(cell: NotebookNode) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def assert_whole(notebook: NotebookNode) -> None:
    """Every cell was executed, once, in order; none failed or warned; what the text speaks of is there."""
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    by_source = {cell.source.strip().splitlines()[-1]: cell for cell in cells}
    assert "accuracy 100.00%" in words_of(by_source["alphabet"])
    assert {"text/html"} <= kinds_of(by_source["tanh"])
    assert "image/png" in kinds_of(by_source["lstm.plot()"])
    assert "bytes" in words_of(by_source['print(lstm.page("page.html").stat().st_size, "bytes, the page")'])
    differs = re.search(r"gradient  differs by ([\d.e-]+) of ([\d.e-]+)", "".join(map(words_of, cells)))
    assert differs
    assert float(differs[1]) < 1e-4 * float(differs[2])


def test_it_runs_from_the_first_cell_to_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On 100,000 characters of English that every Python has, for seconds instead of minutes."""
    text = "\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items()))[:100_000]
    (tmp_path / "novel.txt").write_text(text, encoding="utf-8")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    notebook = written()
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    parameters.source = "NOVEL = ['novel.txt']\nMINUTES = 0.1"
    client = NotebookClient(notebook, timeout=TIMEOUT_SECONDS, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    assert_whole(notebook)
    assert "novel.txt" in words_of(next(cell for cell in code_cells(notebook) if cell.source.endswith("\ntanh")))
    assert (tmp_path / "page.html").stat().st_size > 10_000


def test_what_is_committed_is_a_whole_run_and_names_no_machine() -> None:
    notebook = written()
    nbformat.validate(notebook)
    assert_whole(notebook)
    assert "war-and-peace: 3,1" in "".join(map(words_of, code_cells(notebook)))
    assert not re.findall(r"(?<![\w.~:])/(?:home|root|tmp|usr|work|opt|Users)\b[^\s\"']*", nbformat.writes(notebook))
