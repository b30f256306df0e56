"""Every estimator on every family of problems, against the exact answers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from time import perf_counter

import torch
from pandas import DataFrame
from tqdm.auto import tqdm

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.problems.calibration import Calibration
from lvkam_pyro.problems.family import Family
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.trial import SilentError, ValidationTrial, done


@dataclass(frozen=True)
class Validation:
    """Every estimator on every family.

    Attributes:
        trials: The trials.

    Example:
        >>> import lvkam_pyro as lv
        >>> families = [lv.problems.load_family(name) for name in ("linear_gaussian_1", "funnel")]
        >>> validation = lv.problems.validate(families, [lv.evidence.Lookahead()], progress=False)
        >>> validation.to_frame()["num_reliable"].tolist()
        [4, 0]
    """

    trials: tuple[ValidationTrial, ...]

    def __iter__(self) -> Iterator[ValidationTrial]:
        return iter(self.trials)

    @property
    def families(self) -> list[Family]:
        """All families, each once."""
        return list({trial.family.name: trial.family for trial in self.trials}.values())

    @property
    def estimators(self) -> list[str]:
        """The names of all estimators."""
        return list(dict.fromkeys(trial.estimator for trial in self.trials))

    def select(self, estimator: str, family: str | None = None) -> tuple[ValidationTrial, ...]:
        """The trials of an estimator, in one family or all that have no declared blind spot."""
        return tuple(
            trial
            for trial in self.trials
            if trial.estimator == estimator
            and (not trial.family.blind_spot if family is None else trial.family.name == family)
        )

    def silent_errors(self, estimator: str) -> list[SilentError]:
        """The values of an estimator that it trusts and that are wrong, but for blind spots."""
        return [each for trial in done(self.select(estimator)) for each in trial.silent_errors()]

    def to_frame(self) -> DataFrame:
        """A row a family and an estimator."""
        return DataFrame(
            [
                {
                    "family": family.name,
                    "half": str(family.half),
                    "estimator": estimator,
                    **vars(Calibration.of(self.select(estimator, family.name))),
                }
                for family in self.families
                for estimator in self.estimators
            ]
        )


def validate(
    families: Sequence[Family],
    estimators: Sequence[Estimator],
    *,
    seeds: Sequence[int] = (0,),
    dtype: torch.dtype = torch.float64,
    num_jobs: int = 1,
    progress: bool = True,
) -> Validation:
    """Run every estimator on problems of every family and hold it against the exact answers.

    A seed is that of a problem and that of the run. No estimator gets a guide: those that use one
    propose from the prior. Estimators with equal ladders share their draws, and each is charged for
    all of them.

    Args:
        families: What to estimate.
        estimators: What to estimate it by.
        seeds: One problem of each family and one run of everything for each.
        dtype: Of the data and of what models compute.
        num_jobs: How many processes; above 1 families and estimators must be ones that pickle, as
            the library's own are.
        progress: Whether to show a progress bar.

    Returns:
        A trial for each problem and estimator; those that refuse a problem say why.

    Raises:
        ValueError: If there is no family, no estimator or no seed.

    Example:
        >>> import lvkam_pyro as lv
        >>> family = lv.problems.load_family("linear_gaussian_10")
        >>> (trial,) = validate([family], [lv.evidence.Lookahead(64)], progress=False)
        >>> float(trial.errors.abs().max()) < 1e-3
        True
    """
    if not (families and estimators and seeds):
        raise ValueError(
            "Expected at least one family, one estimator and one seed, but got "
            f"{len(families)}, {len(estimators)} and {len(seeds)}."
        )
    pairs = [(family, seed) for family in families for seed in seeds]
    run = partial(_run, estimators=estimators, dtype=dtype)
    with _processes(num_jobs) as apply:
        bar = tqdm(apply(run, pairs), total=len(pairs), desc="validation", disable=not progress)
        return Validation(tuple(trial for trials in bar for trial in trials))


@contextmanager
def _processes(num_jobs: int) -> Iterator[Callable[..., Iterable[list[ValidationTrial]]]]:
    """A map of a function over many arguments: one by one, or in processes of one thread."""
    if num_jobs == 1:
        yield map
        return
    # Spawned: a fork of a process whose torch has threads can hang.
    with ProcessPoolExecutor(num_jobs, get_context("spawn"), torch.set_num_threads, (1,)) as pool:
        yield pool.map


def _run(
    pair: tuple[Family, int], *, estimators: Sequence[Estimator], dtype: torch.dtype
) -> list[ValidationTrial]:
    """All estimators on one problem."""
    family, seed = pair
    timer = _Timer(family.problem(seed, dtype=dtype), seed)
    return [_try(family, estimator, timer) for estimator in estimators]


class _Timer:
    """The estimates of one problem with one seed, timed; each ladder runs once."""

    def __init__(self, problem: Problem, seed: int) -> None:
        self.problem = problem
        self.seed = seed
        self._runs: list[tuple[Ladder, LadderSamples, float]] = []

    def estimate(self, estimator: Estimator) -> tuple[Evidence, float]:
        """The result, and its seconds."""
        start, shared = perf_counter(), 0.0
        if isinstance(estimator, LadderEstimator):
            samples, shared = self._sample(estimator.ladder_from(None))
            start = perf_counter()
            result = estimator.estimate_from(samples)
        else:
            result = estimator.estimate(self.problem.model, self.problem.x, seed=self.seed)
        return result, shared + perf_counter() - start

    def _sample(self, ladder: Ladder) -> tuple[LadderSamples, float]:
        for known, samples, seconds in self._runs:
            if known == ladder:
                return samples, seconds
        start = perf_counter()
        samples = ladder.sample(self.problem.model, self.problem.x, seed=self.seed)
        self._runs.append((ladder, samples, perf_counter() - start))
        return samples, self._runs[-1][-1]


def _try(family: Family, estimator: Estimator, timer: _Timer) -> ValidationTrial:
    result, seconds, refusal = None, 0.0, ""
    try:
        result, seconds = timer.estimate(estimator)
    except (TypeError, ValueError) as error:
        refusal = " ".join(str(error).split())
    exact = timer.problem.log_evidence
    return ValidationTrial(family, timer.seed, estimator.name, exact, result, seconds, refusal)
