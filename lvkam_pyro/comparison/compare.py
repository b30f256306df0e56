"""Several models, several estimators, the same data: the run."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from pathlib import Path

import pyro
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from lvkam_pyro import __version__
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.fingerprint import fingerprint
from lvkam_pyro.comparison.row import EvidenceRow
from lvkam_pyro.comparison.store import EvidenceStore
from lvkam_pyro.comparison.tasks import (
    EvidenceTask,
    TaskResult,
    check_executor,
    group_estimators,
    run_tasks,
)
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.arguments import check_data, hash_data
from lvkam_pyro.tracing.particles import Guide
from lvkam_pyro.tracing.structure import Model

_Place = tuple[str, int]
"""A model's name and an estimator's place in the list."""


def compare_evidence(
    models: Model | Mapping[str, Model],
    x: Tensor,
    estimators: Sequence[Estimator],
    *,
    guide: Guide | Mapping[str, Guide] | None = None,
    seed: int = 0,
    progress: bool = True,
    folder: str | Path | None = None,
    executor: Executor | None = None,
) -> EvidenceComparison:
    """Estimate the evidence of each model by each estimator, on the same data.

    Estimators with equal ladders share one run of it. Estimators of equal name are numbered.

    Args:
        models: One Pyro model, or name to model.
        x: The observations, of shape `(N, ...)`.
        estimators: At least one.
        guide: The proposal of the estimators that use one: one guide, or the model's name to its
            guide; None is each model's prior.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        progress: Whether to show a progress bar.
        folder: Where to keep each result as it is finished. A result that is there already, of the
            same model (its parameters and code, but not the code of its class), data, estimator,
            guide and seed, is not estimated again: so a comparison that was stopped goes on.
            Ladders cut short and the results of `Auto`, which hold others, are not kept.
        executor: Where to estimate, e.g. a `ProcessPoolExecutor`, or a Dask cluster's
            ``Client(...).get_executor()``, whose workers do best with one thread each; None: here.
            Models, guides and estimators must pickle. The results are those of one process with
            one thread of torch, bit for bit.

    Returns:
        The comparison.

    Raises:
        TypeError: If `x` is no tensor, or a model cannot be sent to another process.
        ValueError: If there is no model or no estimator, `x` is empty or not finite, or a file of
            the folder is damaged.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from lvkam_pyro.evidence.importance import Importance
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> estimators = [Importance(512)]
        >>> comparison = compare_evidence(model, torch.zeros(3), estimators, progress=False)
        >>> comparison["model", "Importance"].num_data
        3
    """
    check_data(x)
    named = models if isinstance(models, Mapping) else {"model": models}
    if not named or not estimators:
        raise ValueError(
            f"Expected at least one model and one estimator, but got {len(named)} and "
            f"{len(estimators)}. Pass e.g. compare_evidence(model, x, [Importance()])."
        )
    if executor is not None:
        check_executor(executor)
    guides = {name: guide.get(name) if isinstance(guide, Mapping) else guide for name in named}
    kept = _Kept(folder, lambda: _keys(named, x, estimators, guides, seed))
    results = kept.results()
    tasks = [
        EvidenceTask(name, model, x, group, guides[name], seed)
        for name, model in named.items()
        for group in group_estimators(
            {i: one for i, one in enumerate(estimators) if (name, i) not in results}
        )
    ]
    count, done = len(named) * len(estimators), len(results)
    with tqdm(total=count, initial=done, desc="evidence", disable=not progress) as bar:
        for result in run_tasks(tasks, executor):
            results[result.model, result.index] = result.evidence
            kept.add(result)
            bar.set_postfix_str(f"{result.model}, {result.evidence.estimator}")
            bar.update()
    rows = (EvidenceRow(name, results[name, i]) for name in named for i in range(len(estimators)))
    return EvidenceComparison(tuple(_numbered(rows)))


class _Kept:
    """The results in the folder of a comparison, or none without one."""

    def __init__(self, folder: str | Path | None, keys: Callable[[], dict[_Place, str]]) -> None:
        self._store = None if folder is None else EvidenceStore(folder)
        self._keys = {} if folder is None else keys()

    def results(self) -> dict[_Place, Evidence]:
        """What is there already."""
        if self._store is None:
            return {}
        found = {place: self._store.load(key) for place, key in self._keys.items()}
        return {place: evidence for place, evidence in found.items() if evidence is not None}

    def add(self, result: TaskResult) -> None:
        """Keeps a result, unless it was cut short or has more to it than the store writes down."""
        is_plain = type(result.evidence) is Evidence
        if self._store is not None and result.is_whole and is_plain:
            self._store.save(self._keys[result.model, result.index], result.evidence)


def _keys(
    models: Mapping[str, Model],
    x: Tensor,
    estimators: Sequence[Estimator],
    guides: Mapping[str, Guide | None],
    seed: int,
) -> dict[_Place, str]:
    """What each result is found by: everything that it is a function of."""
    common = (hash_data(x), seed, torch.__version__, __version__)
    names = [fingerprint(estimator) for estimator in estimators]
    return {
        (name, i): fingerprint((_content(model), _content(guides[name]), names[i], common))
        for name, model in models.items()
        for i in range(len(estimators))
    }


def _content(program: Model | None) -> tuple[object, object]:
    """A Pyro program with its parameters, which those that are no modules keep in Pyro's store."""
    if program is None or isinstance(program, nn.Module):
        return program, None
    return program, pyro.get_param_store().get_state()


def _numbered(rows: Iterable[EvidenceRow]) -> Iterator[EvidenceRow]:
    """The rows, where the second of one name in a model gets the number 2, and so on."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name = row.evidence.estimator
        counts[row.model, name] += 1
        count = counts[row.model, name]
        label = name if count == 1 else f"{name} {count}"
        yield EvidenceRow(row.model, replace(row.evidence, estimator=label))
