"""Finished results in a folder, so that a comparison can go on where it was stopped."""

import json
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.verdict import Verdict

_TENSOR = "tensor"


class EvidenceStore:
    """A folder of results, one JSON file each, found again by what they were made of.

    Numbers are written so that they are read back bit for bit. A file is there whole or not at all.

    Args:
        folder: The folder; it is made if need be.

    Raises:
        NotADirectoryError: If a file is in the folder's place.

    Example:
        >>> import tempfile, lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> evidence = lv.evidence.Importance(64).estimate(problem.model, problem.x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = EvidenceStore(folder)
        ...     store.save("key", evidence)
        ...     store.load("key").total == evidence.total, store.load("another")
        (True, None)
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(
                f"{self.folder} is a file; results need a folder there. Choose another one."
            ) from error

    def load(self, key: str) -> Evidence | None:
        """A result; None if it is not there.

        Args:
            key: What it was saved under.

        Raises:
            ValueError: If its file is damaged.
        """
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return _from_plain(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(
                f"{path} is damaged ({type(error).__name__}: {error}). Remove it, and the result "
                "is estimated again."
            ) from error

    def save(self, key: str, evidence: Evidence) -> None:
        """Keeps a result.

        Args:
            key: What to find it by.
            evidence: The result.
        """
        path = self._path(key)
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps(_to_plain(evidence)), encoding="utf-8")
        os.replace(temporary, path)

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _to_plain(evidence: Evidence) -> dict[str, Any]:
    """The result as JSON has it; a tensor is its type and its values."""
    verdict = {name: _plain(value) for name, value in vars(evidence.verdict).items()}
    diagnostics = {name: _plain(value) for name, value in evidence.diagnostics.items()}
    values = {item.name: _plain(getattr(evidence, item.name)) for item in fields(Evidence)}
    return values | {"verdict": verdict, "diagnostics": diagnostics}


def _plain(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, Tensor):
        return {_TENSOR: [str(value.dtype).removeprefix("torch."), value.tolist()]}
    return value


def _from_plain(plain: dict[str, Any]) -> Evidence:
    verdict = {name: _restored(value) for name, value in plain.pop("verdict").items()}
    diagnostics = {name: _restored(value) for name, value in plain.pop("diagnostics").items()}
    values = {name: _restored(value) for name, value in plain.items()}
    verdict["reasons"] = tuple(verdict["reasons"])
    return Evidence(**values, verdict=Verdict(**verdict), diagnostics=diagnostics)


def _restored(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, dict):
        dtype, values = value[_TENSOR]
        return torch.tensor(values, dtype=getattr(torch, dtype))
    return value
