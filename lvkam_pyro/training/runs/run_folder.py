"""The run folder: where one training keeps its settings, metrics, checkpoint and results."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pandas import DataFrame

from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from lvkam_pyro.training.runs.files import write_atomically
from lvkam_pyro.training.runs.ownership import owned

Row = Mapping[str, float]
"""One epoch's metrics."""


class RunFolder:
    r"""The files of one run.

    - `settings.json`: programs and their options, seed, versions, hash of the data;
    - `metrics.csv`: a row an epoch;
    - `checkpoint.pt`: the newest checkpoint;
    - `evidence.csv`, `evidence.json`, `evidence.tex`, `posterior.nc`, `report.html`, `plots/*.png`:
      the results.

    Every file is replaced whole, so that none is ever half written.

    Args:
        path: The folder; it need not exist yet.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as path:
        ...     folder = RunFolder(path)
        ...     folder.write_metrics([{"epoch": 1, "loss_per_datum": 2.5}])
        ...     folder.metrics.read_text()
        'epoch,loss_per_datum\n1,2.5\n'
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.settings = self.path / "settings.json"
        self.metrics = self.path / "metrics.csv"
        self.checkpoint = self.path / "checkpoint.pt"
        self.posterior = self.path / "posterior.nc"
        self.report = self.path / "report.html"
        self.plots = self.path / "plots"

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def evidence(self, suffix: str) -> Path:
        """Where the evidence is, as `".csv"`, `".json"` or `".tex"`."""
        return self.path / f"evidence{suffix}"

    def create(self) -> None:
        """Makes the folder.

        Raises:
            OSError: If a file is in its place, or it may not be written.
        """
        _make_folder(self.path)

    @contextmanager
    def owned(self) -> Iterator[None]:
        """Makes the folder; inside, this process alone trains into it.

        Raises:
            FolderInUseError: If another process does.
            OSError: If a file is in its place, or it may not be written.
        """
        self.create()
        with owned(self.path):
            yield

    def picture(self, name: str) -> Path:
        """Where a picture is to be written, in the folder of the pictures, which is made.

        Args:
            name: Its name, without the ending.

        Raises:
            OSError: If a file is in the folder's place, or it may not be written.
        """
        _make_folder(self.plots)
        return self.plots / f"{name}.png"

    def check_free(self) -> None:
        """Raises FileExistsError if the folder holds a run already."""
        if self.checkpoint.exists():
            raise FileExistsError(
                f"{self.path} holds a run already. Resume it (resume=True, --resume), remove it "
                "(--overwrite), or choose another folder."
            )

    def clear(self) -> None:
        """Removes the files of a run, and leaves every other file where it is."""
        tables = [self.evidence(suffix) for suffix in (".csv", ".json", ".tex")]
        pictures = sorted(self.plots.glob("*.png"))
        own = [self.checkpoint, self.metrics, self.settings, self.posterior, self.report]
        for file in [*own, *tables, *pictures]:
            file.unlink(missing_ok=True)

    def write_settings(self, settings: Mapping[str, object]) -> None:
        """Adds the entries to `settings.json`; an entry that it has already is replaced."""
        self.create()
        merged = {**(self.read_settings() if self.settings.exists() else {}), **settings}
        write_atomically(self.settings, (json.dumps(merged, indent=2) + "\n").encode())

    def read_settings(self) -> dict[str, object]:
        """Reads `settings.json`.

        Raises:
            FileNotFoundError: If the folder holds no run.
            ValueError: If the file is no JSON object.
        """
        if not self.settings.is_file():
            raise FileNotFoundError(f"{self.path} holds no run: there is no {self.settings}.")
        try:
            settings = json.loads(self.settings.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{self.settings} is damaged: {error}.") from error
        if not isinstance(settings, dict):
            raise ValueError(f"{self.settings} is damaged: it is no JSON object.")
        return settings

    def write_metrics(self, rows: Sequence[Row]) -> None:
        """Replaces `metrics.csv` by these rows, which all have the same keys."""
        self.create()
        text = DataFrame(rows).to_csv(index=False, lineterminator="\n")
        write_atomically(self.metrics, text.encode())

    def read_checkpoint(self) -> dict[str, object]:
        """Reads the newest checkpoint; see `load_checkpoint` for what it raises."""
        return load_checkpoint(self.checkpoint)


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise NotADirectoryError(f"{path} is a file; a run needs a folder there.") from error
