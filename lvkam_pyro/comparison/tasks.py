"""What a comparison computes, in parts that can run anywhere."""

import os
import pickle
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.tracing.particles import Guide
from lvkam_pyro.tracing.structure import Model

_TURN = threading.Lock()
"""Workers of some executors, such as Dask's, run several tasks in the threads of one process, which
share Pyro's handlers and torch's generator: they take turns."""


@dataclass(frozen=True)
class TaskResult:
    """One result of a task.

    Attributes:
        model: The model's name.
        index: The estimator's place in the comparison.
        evidence: The result.
        is_whole: Whether its ladder ran to the end, and was not cut short by Ctrl-C.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> task = EvidenceTask("m", problem.model, problem.x, {0: lv.evidence.Importance(8)}, None)
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
        x: The data.
        estimators: Place in the comparison to estimator.
        guide: The proposal.
        seed: The seed.
        store: What Pyro's parameter store holds, for models that keep parameters there.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> task = EvidenceTask("m", problem.model, problem.x, {0: lv.evidence.Importance(8)}, None)
        >>> [result.evidence.num_data for result in task.run()]
        [4]
    """

    name: str
    model: Model
    x: Tensor
    estimators: Mapping[int, Estimator]
    guide: Guide | None
    seed: int = 0
    store: Any = field(default_factory=lambda: pyro.get_param_store().get_state())

    def run(self) -> Iterator[TaskResult]:
        """The results, one by one."""
        first = next(iter(self.estimators.values()))
        if isinstance(first, LadderEstimator):
            yield from self._climb(first.ladder)
            return
        for index, estimator in self.estimators.items():
            evidence = estimator.estimate(self.model, self.x, guide=self.guide, seed=self.seed)
            yield TaskResult(self.name, index, evidence, is_whole=True)

    def _climb(self, ladder: Ladder) -> Iterator[TaskResult]:
        samples = ladder.sample(self.model, self.x, seed=self.seed)
        is_whole = len(samples.log_likelihood) == ladder.num_samples
        for index, estimator in self.estimators.items():
            if isinstance(estimator, LadderEstimator):
                evidence = estimator.estimate_from(samples)
                yield TaskResult(self.name, index, evidence, is_whole)


def group_estimators(
    estimators: Mapping[int, Estimator],
) -> Sequence[dict[int, Estimator]]:
    """Estimators with equal ladders together, every other one alone.

    Example:
        >>> import lvkam_pyro as lv
        >>> both = lv.evidence.SteppingStone(), lv.evidence.Importance()
        >>> both = *both, lv.evidence.ThermodynamicIntegration()
        >>> [list(group) for group in group_estimators(dict(enumerate(both)))]
        [[0, 2], [1]]
    """
    groups: list[dict[int, Estimator]] = []
    for index, estimator in estimators.items():
        for group in groups:
            if _share_a_ladder(estimator, next(iter(group.values()))):
                group[index] = estimator
                break
        else:
            groups.append({index: estimator})
    return groups


def _share_a_ladder(one: Estimator, other: Estimator) -> bool:
    if not (isinstance(one, LadderEstimator) and isinstance(other, LadderEstimator)):
        return False
    return one.ladder == other.ladder


def run_tasks(tasks: Sequence[EvidenceTask], executor: Executor | None) -> Iterator[TaskResult]:
    """The results of all tasks as they come, from this process or those of an executor.

    Args:
        tasks: The tasks.
        executor: Where to run them; None: here, in order.

    Raises:
        TypeError: If the executor has threads, or a task cannot be sent to another process.

    Example:
        >>> list(run_tasks([], None))
        []
    """
    if executor is None:
        for task in tasks:
            yield from task.run()
        return
    check_executor(executor)
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
    """Run a packed task, with one thread of torch if the process is not the caller's."""
    with _TURN:
        if os.getpid() != caller:
            torch.set_num_threads(1)
        task: EvidenceTask = pickle.loads(packed)
        with pyro.get_param_store().scope(task.store):
            return list(task.run())
