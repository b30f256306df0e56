"""Finished results in a folder, so that a comparison can go on where it was stopped."""

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from pickle import UnpicklingError

import pyro
import torch

from lvkam_pyro.comparison._fingerprint import UnrecognizableError, fingerprint
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.verdict import Verdict
from lvkam_pyro.tracing.arguments import Arguments, Program

Key = tuple[str, int]
"""A model's name and an estimator's index in the list."""


class EvidenceStore:
    """A folder of results, one file each, found again by all that they depend on.

    Tensors are read back bit for bit. A file is there whole or not at all.

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
        ...     store.save("name", evidence)
        ...     store.load("name").total == evidence.total, store.load("another")
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

    def load(self, name: str) -> Evidence | None:
        """A result; None if it is not there.

        Args:
            name: The name that it was saved under.

        Raises:
            ValueError: If its file is damaged.
        """
        path = self._path(name)
        if not path.is_file():
            return None
        try:
            plain = torch.load(path, weights_only=True)
            return Evidence(**plain | {"verdict": Verdict(**plain["verdict"])})
        except (ValueError, TypeError, KeyError, EOFError, RuntimeError, UnpicklingError) as error:
            raise ValueError(
                f"{path} is damaged ({type(error).__name__}). Remove it, and the result is "
                "estimated again."
            ) from error

    def save(self, name: str, evidence: Evidence) -> None:
        """Keeps a result.

        Args:
            name: The name to find it by.
            evidence: The result.
        """
        path = self._path(name)
        temporary = path.with_suffix(".tmp")
        torch.save(asdict(evidence), temporary)
        os.replace(temporary, path)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.pt"


def result_names(
    models: Mapping[str, Program],
    arguments: Arguments,
    estimators: Sequence[Estimator],
    guides: Mapping[str, Program | None],
    seed: int,
) -> dict[Key, str]:
    """The name of each result of a comparison: a fingerprint of all that it is a function of.

    Results of what cannot be recognised in a later run have none, and a warning says so.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> arguments = Arguments((problem.x,), {})
        >>> list(result_names({"m": problem.model}, arguments, [lv.evidence.ELBO()], {}, 0))
        [('m', 0)]
    """
    setting = (
        arguments.args,
        dict(arguments.kwargs),
        [str(tensor.device) for tensor in arguments.tensors],
        seed,
        torch.get_default_dtype(),
        pyro.get_param_store().get_state(),
    )
    common = _name("The data or Pyro's parameter store", setting)
    named = {
        name: (
            _name(f"The model {name!r}", model),
            _name(f"The guide of {name!r}", guides.get(name)),
        )
        for name, model in models.items()
    }
    methods = [_name(f"The estimator {one.name}", one) for one in estimators]
    parts = {
        (name, index): (common, *programs, method)
        for name, programs in named.items()
        for index, method in enumerate(methods)
    }
    return {key: fingerprint(part) for key, part in parts.items() if None not in part}


def _name(what: str, value: object) -> str | None:
    try:
        return fingerprint(value)
    except UnrecognizableError as error:
        warnings.warn(
            f"{what} cannot be recognised in a later run: {error}. Its results are estimated anew "
            "and not kept.",
            stacklevel=4,
        )
        return None
