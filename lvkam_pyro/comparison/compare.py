"""The comparison of several models by several estimators: its tasks, here or elsewhere."""

import os
import pickle
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyro
import torch
from torch import Tensor
from tqdm.auto import tqdm

from lvkam_pyro.comparison._store import EvidenceStore, Key, result_names
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.rows import EvidenceRow
from lvkam_pyro.evidence.auto import Auto
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.tracing.arguments import Arguments, Program, as_arguments
from lvkam_pyro.tracing.bind import bind, bind_guide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import exclusive


def compare_evidence(
    models: Program | Mapping[str, Program],
    x: Tensor | tuple[Any, ...] | dict[str, Any],
    estimators: Sequence[Estimator] | None = None,
    *,
    guide: Program | Mapping[str, Program] | None = None,
    seed: int = 0,
    progress: bool = True,
    folder: str | Path | None = None,
    executor: Executor | None = None,
) -> EvidenceComparison:
    """Estimate the evidence of each model by each estimator, on the same data.

    Estimators with equal ladders share one run of it. Estimators of equal name are numbered.

    Args:
        models: One Pyro model, or name to model.
        x: The arguments of the models: one tensor, a tuple of arguments, or a dictionary of keyword
            arguments.
        estimators: At least one; None: `Auto`.
        guide: The proposal of the estimators that use one: one guide, or the model's name to its
            guide; None is each model's prior.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        progress: Whether to show a progress bar.
        folder: Where to keep each result as it is finished. A result that is there already is not
            estimated again, so that a comparison that was stopped goes on, if all is the same that
            it depends on: data, estimator, seed, and of model and guide the parameters, the code,
            and the global variables and helper functions that the code reads. What cannot be
            recognised is estimated anew, and a warning says so. Ladders cut short and the results
            of `Auto`, which hold others, are not kept.
        executor: Where to estimate, e.g. a `ProcessPoolExecutor`, or a Dask cluster's
            ``Client(...).get_executor()``, whose workers do best with one thread each; None: here.
            Models, guides and estimators must pickle. The results are those of one process with
            one thread of torch, bit for bit.

    Returns:
        The comparison.

    Raises:
        TypeError: If data are no tensors, or a model cannot be sent to another process.
        ValueError: If there is no model or no estimator, `bind` refuses a model, or a file of the
            folder is damaged.

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
    arguments = as_arguments(x)
    named = models if isinstance(models, Mapping) else {"model": models}
    estimators = [Auto()] if estimators is None else estimators
    if not named or not estimators:
        raise ValueError(
            f"Expected at least one model and one estimator, but got {len(named)} and "
            f"{len(estimators)}. Pass e.g. compare_evidence(model, x, [Importance()])."
        )
    if executor is not None:
        check_executor(executor)
    guides = {name: guide.get(name) if isinstance(guide, Mapping) else guide for name in named}
    kept = _Kept(folder, lambda: result_names(named, arguments, estimators, guides, seed))
    results = kept.results()
    tasks = [
        EvidenceTask(name, model, arguments, group, guides[name], seed)
        for name, model in named.items()
        for group in group_estimators(
            {i: one for i, one in enumerate(estimators) if (name, i) not in results}, guides[name]
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

    def __init__(self, folder: str | Path | None, names: Callable[[], dict[Key, str]]) -> None:
        self._store = None if folder is None else EvidenceStore(folder)
        self._names = {} if folder is None else names()

    def results(self) -> dict[Key, Evidence]:
        """Those that are there already."""
        if self._store is None:
            return {}
        found = {key: self._store.load(name) for key, name in self._names.items()}
        return {key: evidence for key, evidence in found.items() if evidence is not None}

    def add(self, result: "TaskResult") -> None:
        """Keeps a result, unless it was cut short or has more to it than the store writes down."""
        name = self._names.get((result.model, result.index))
        is_plain = type(result.evidence) is Evidence
        if self._store is not None and name and result.is_whole and is_plain:
            self._store.save(name, result.evidence)


def _numbered(rows: Iterable[EvidenceRow]) -> Iterator[EvidenceRow]:
    """The rows, where the second of one name in a model gets the number 2, and so on."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name = row.evidence.estimator
        counts[row.model, name] += 1
        count = counts[row.model, name]
        label = name if count == 1 else f"{name} {count}"
        yield EvidenceRow(row.model, replace(row.evidence, estimator=label))


@dataclass(frozen=True)
class TaskResult:
    """One result of a task.

    Attributes:
        model: The model's name.
        index: The estimator's index in the comparison.
        evidence: The result.
        is_whole: Whether its ladder ran to the end, and was not cut short by Ctrl-C.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> arguments, estimators = as_arguments(problem.x), {0: lv.evidence.Importance(8)}
        >>> task = EvidenceTask("m", problem.model, arguments, estimators, None)
        >>> [result.is_whole for result in task.run()]
        [True]
    """

    model: str
    index: int
    evidence: Evidence
    is_whole: bool


@dataclass(frozen=True)
class EvidenceTask:
    """Estimators of one model that belong together: one alone, or several on one ladder.

    Its results are a function of what it holds alone, so that it may run in another process.

    Attributes:
        name: The model's name.
        model: The model.
        arguments: The model's arguments.
        estimators: Index in the comparison to estimator.
        guide: The proposal.
        seed: The seed.
        store: What Pyro's parameter store holds, for models that keep parameters there.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> arguments, estimators = as_arguments(problem.x), {0: lv.evidence.Importance(8)}
        >>> task = EvidenceTask("m", problem.model, arguments, estimators, None)
        >>> [result.evidence.num_data for result in task.run()]
        [4]
    """

    name: str
    model: Program
    arguments: Arguments
    estimators: Mapping[int, Estimator]
    guide: Program | None
    seed: int = 0
    store: Any = field(default_factory=lambda: pyro.get_param_store().get_state())

    def run(self) -> Iterator[TaskResult]:
        """The results, one by one."""
        first = next(iter(self.estimators.values()))
        program = bind(self.model, *self.arguments.args, **self.arguments.kwargs)
        if isinstance(first, LadderEstimator):
            if self.guide is not None:
                program = bind_guide(program, self.guide)
            yield from self._climb(first.ladder_from(self.guide), program)
            return
        for index, estimator in self.estimators.items():
            evidence = estimator.estimate(program, guide=self.guide, seed=self.seed)
            yield TaskResult(self.name, index, evidence, is_whole=True)

    def _climb(self, ladder: Ladder, program: BoundProgram) -> Iterator[TaskResult]:
        samples = ladder.sample_bound(program, self.guide, seed=self.seed)
        is_whole = len(samples.log_likelihood) == ladder.num_samples
        for index, estimator in self.estimators.items():
            if isinstance(estimator, LadderEstimator):
                evidence = estimator.estimate_from(samples)
                yield TaskResult(self.name, index, evidence, is_whole)


def group_estimators(
    estimators: Mapping[int, Estimator], guide: Program | None = None
) -> Sequence[dict[int, Estimator]]:
    """Estimators with equal ladders together, every other one alone.

    Example:
        >>> import lvkam_pyro as lv
        >>> both = lv.evidence.SteppingStone(), lv.evidence.Importance()
        >>> both = *both, lv.evidence.ThermodynamicIntegration()
        >>> [list(group) for group in group_estimators(dict(enumerate(both)))]
        [[0, 2], [1]]
    """
    groups: list[tuple[Ladder | None, dict[int, Estimator]]] = []
    for index, estimator in estimators.items():
        is_ladder = isinstance(estimator, LadderEstimator)
        ladder = estimator.ladder_from(guide) if is_ladder else None
        shared = [group for other, group in groups if ladder is not None and other == ladder]
        if shared:
            shared[0][index] = estimator
        else:
            groups.append((ladder, {index: estimator}))
    return [group for _, group in groups]


def run_tasks(tasks: Sequence[EvidenceTask], executor: Executor | None) -> Iterator[TaskResult]:
    """The results of all tasks as they come, from this process or those of an executor.

    Args:
        tasks: The tasks.
        executor: Where to run them; None: here, in order.

    Raises:
        TypeError: If a task cannot be sent to another process.

    Example:
        >>> list(run_tasks([], None))
        []
    """
    if executor is None:
        for task in tasks:
            yield from task.run()
        return
    futures = [executor.submit(_run_elsewhere, _pack(task), os.getpid()) for task in tasks]
    yield from _gather(futures)


def check_executor(executor: object) -> None:
    """Raises TypeError unless tasks can run in the executor."""
    if not isinstance(executor, Executor):
        raise TypeError(
            "Expected executor to be a concurrent.futures.Executor, but got "
            f"{type(executor).__name__}. Pass e.g. ProcessPoolExecutor(4)."
        )
    if isinstance(executor, ThreadPoolExecutor):
        raise TypeError(
            "Expected an executor of processes, but got a ThreadPoolExecutor: all threads share "
            "Pyro's handlers and torch's generator. Pass a ProcessPoolExecutor."
        )


def _gather(futures: Sequence["Future[list[TaskResult]]"]) -> Iterator[TaskResult]:
    try:
        for future in as_completed(futures):
            yield from future.result()
    finally:
        for future in futures:
            future.cancel()


def _pack(task: EvidenceTask) -> bytes:
    try:
        return pickle.dumps(task)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise TypeError(
            f"The model {task.name!r}, its guide or its estimators cannot be sent to another "
            f"process ({error}). Define functions and classes at the top level of a module, or "
            "leave out executor=."
        ) from error


def _run_elsewhere(packed: bytes, caller: int) -> list[TaskResult]:
    """Run a packed task, with one thread of torch if the process is not the caller's.

    Workers of some executors, such as Dask's, are threads of one process: they take turns.
    """
    with exclusive():
        if os.getpid() != caller:
            torch.set_num_threads(1)
        task: EvidenceTask = pickle.loads(packed)
        with pyro.get_param_store().scope(task.store):
            return list(task.run())
