"""Executes the notebooks from their sources, and writes the executed twins.

python -m notebooks.execute                             do all run, without a warning?
python -m notebooks.execute --write 05_write_your_own   the same of one, and write its .ipynb
"""

import argparse
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from notebooks.pairs import faults, is_in_step, read_source, sources, twin

SECONDS_A_CELL = 300

# ArviZ 0.23 announces 1.0 once at import, and uses what pandas 3 deprecates; Jupyter's own warnings
# are not ours.
_PRELUDE = """\
import warnings
warnings.simplefilter("error")
warnings.filterwarnings("ignore", r"\\s*ArviZ is undergoing a major refactor", FutureWarning)
warnings.filterwarnings("ignore", category=DeprecationWarning, module="arviz")
warnings.filterwarnings("ignore", module=r"(ipykernel|IPython|jupyter|traitlets|zmq)")
"""


class NotebookError(RuntimeError):
    """A notebook that ran, but should not be shown."""


def execute(source: Path) -> NotebookNode:
    """Runs a source in a kernel of its own, in an empty folder, where warnings are errors.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
        NotebookError: If a cell writes to stderr, or shows a path or an address of this machine.
    """
    notebook = read_source(source)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(_PRELUDE))
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS_A_CELL,
            record_timing=False,
            extra_arguments=["--log-level=CRITICAL"],
            resources={"metadata": {"path": folder}},
        )
        with client.setup_kernel():
            for index, cell in enumerate(notebook.cells):
                # The numbers of the notebook's own cells start from 1.
                client.execute_cell(cell, index, store_history=index > 0)
    del notebook.cells[0]
    for fault in faults(notebook):
        raise NotebookError(f"{source.name}: {fault}")
    return notebook


def _report(source: Path, *, write: bool) -> str:
    start = time.perf_counter()
    notebook = execute(source)
    if write:
        nbformat.write(notebook, twin(source))
    return f"{source.stem}: {time.perf_counter() - start:.0f} s"


def _chosen(names: Sequence[str]) -> list[Path]:
    known = {source.stem: source for source in sources()}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise SystemExit(f"No notebook is called {unknown[0]}. There are: {', '.join(known)}.")
    return [known[name] for name in names or known]


def main() -> None:
    """Runs the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="as 01_declare_a_model; none: all")
    parser.add_argument("--write", action="store_true", help="write the executed .ipynb")
    parser.add_argument("--jobs", type=int, default=2, help="notebooks at a time")
    arguments = parser.parse_args()
    chosen = _chosen(arguments.names)
    with ThreadPoolExecutor(arguments.jobs) as pool:
        for line in pool.map(lambda source: _report(source, write=arguments.write), chosen):
            print(line, flush=True)
    behind = [source.stem for source in chosen if not is_in_step(source)]
    if behind:
        raise SystemExit(
            "Changed since the .ipynb was written: run "
            f"python -m notebooks.execute --write {' '.join(behind)}"
        )


if __name__ == "__main__":
    main()
