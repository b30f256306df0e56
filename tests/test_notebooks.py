"""The notebooks as they lie there: sources and executed twins agree, and can be shown to anyone.

That the sources run is checked by `make notebooks`.
"""

from pathlib import Path

import nbformat
import pytest

from notebooks.pairs import (
    FOLDER,
    code_cells,
    faults,
    is_in_step,
    read_source,
    read_twin,
    sources,
    twin,
    without_outputs,
)

MAX_BYTES = 500_000
EACH = pytest.mark.parametrize("source", sources(), ids=lambda source: source.stem)


@EACH
def test_the_executed_notebook_has_the_cells_of_its_source(source: Path) -> None:
    assert is_in_step(source), f"run: python -m notebooks.execute --write {source.stem}"


@EACH
def test_every_cell_was_run_in_order_and_shows_nothing_of_the_machine(source: Path) -> None:
    assert list(faults(read_twin(source))) == []


@EACH
def test_is_small_enough_to_keep(source: Path) -> None:
    assert twin(source).stat().st_size < MAX_BYTES


@EACH
def test_shows_pictures_and_starts_with_a_title(source: Path) -> None:
    notebook = read_twin(source)
    assert notebook.cells[0].source.startswith("# ")
    assert "image/png" in str([cell.outputs for cell in code_cells(notebook)])


def test_no_executed_notebook_is_without_a_source() -> None:
    assert sorted(FOLDER.glob("*.ipynb")) == [twin(source) for source in sources()]


def _notebook(*cells: nbformat.NotebookNode) -> nbformat.NotebookNode:
    return nbformat.v4.new_notebook(cells=list(cells))


def _cell(
    source: str, text: str, *, name: str = "stdout", number: int = 1
) -> nbformat.NotebookNode:
    output = nbformat.v4.new_output("stream", name=name, text=text)
    return nbformat.v4.new_code_cell(source, outputs=[output], execution_count=number)


@pytest.mark.parametrize(
    ("cell", "fault"),
    [
        (_cell("1", "", number=2), "was run as number 2, not 1"),
        (_cell("1", "UserWarning", name="stderr"), "warns or fails: UserWarning"),
        (_cell("1", f"saved to {FOLDER}"), "shows a path"),
        (_cell("1", "<Axes at 0x7f00>"), "shows an address"),
    ],
)
def test_a_fault_is_found(cell: nbformat.NotebookNode, fault: str) -> None:
    (found,) = faults(_notebook(cell))
    assert fault in found


def test_outputs_are_all_that_may_differ() -> None:
    one, other = _notebook(_cell("1", "a")), _notebook(_cell("1", "b", number=3))
    one.cells[0].id = other.cells[0].id = "cell"
    assert without_outputs(one) == without_outputs(other)
    other.cells[0].source = "2"
    assert without_outputs(one) != without_outputs(other)


def test_a_source_reads_the_same_each_time() -> None:
    source = sources()[0]
    assert read_source(source) == read_source(source)
