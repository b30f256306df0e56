"""What belongs to a notebook: a source `NAME.py`, and its executed twin `NAME.ipynb`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

FOLDER = Path(__file__).resolve().parent


def sources() -> list[Path]:
    """The sources of all notebooks, in order."""
    return sorted(FOLDER.glob("[0-9][0-9]_*.py"))


def twin(source: Path) -> Path:
    """The executed notebook of a source."""
    return source.with_suffix(".ipynb")


def read_source(source: Path) -> NotebookNode:
    """A source as a notebook without outputs, the same each time and on each machine."""
    notebook = jupytext.read(source)
    for index, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{index:02}"
        cell.metadata = NotebookNode()
    notebook.metadata = NotebookNode(
        jupytext=NotebookNode(formats="ipynb,py:percent"),
        kernelspec=NotebookNode(display_name="Python 3", language="python", name="python3"),
        language_info=NotebookNode(name="python"),
    )
    return notebook


def read_twin(source: Path) -> NotebookNode:
    """The executed notebook of a source."""
    return nbformat.read(twin(source), as_version=4)


def without_outputs(notebook: NotebookNode) -> NotebookNode:
    """What a pair has in common: all but what execution adds."""
    bare = nbformat.from_dict(notebook)
    bare.nbformat_minor = 5
    for cell in bare.cells:
        if cell.cell_type == "code":
            cell.update(outputs=[], execution_count=None)
    return bare


def is_in_step(source: Path) -> bool:
    """Whether the executed notebook is there and has the source's cells."""
    return twin(source).is_file() and without_outputs(read_twin(source)) == without_outputs(
        read_source(source)
    )


def faults(notebook: NotebookNode) -> Iterator[str]:
    """What an executed notebook should not show."""
    for number, cell in enumerate(code_cells(notebook), 1):
        if cell.execution_count != number:
            yield f"{cell.id} was run as number {cell.execution_count}, not {number}"
        for output in cell.outputs:
            yield from (f"{cell.id} {fault}" for fault in _output_faults(output))


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that are executed."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _output_faults(output: NotebookNode) -> Iterator[str]:
    text = str(output.get("text", "")) + str(output.get("data", {}))
    if output.get("name") == "stderr" or output.output_type == "error":
        yield f"warns or fails: {text}"
    if str(FOLDER.parent) in text or sys.prefix in text:
        yield f"shows a path of this machine: {text}"
    if " at 0x" in text:
        yield f"shows an address in memory: {text}"
