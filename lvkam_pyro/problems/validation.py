"""Every estimator on every problem, against the exact answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf
from statistics import fmean
from time import perf_counter

import torch
from pandas import DataFrame
from torch import Tensor
from tqdm.auto import tqdm

from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.problems.problem import Problem

ROUNDING = 1e-6
"""Of an exact answer and its estimate, relative."""


@dataclass(frozen=True, eq=False)
class ValidationTrial:
    r"""One estimator on one problem, once for each seed.

    Attributes:
        problem: The problem.
        estimator: The estimator's name.
        results: One a seed; none where it refuses the problem.
        seconds: The mean time of an estimate, with its ladder.
        refusal: Why it does not apply; empty where it does.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> (trial,) = lv.problems.validate([problem], [lv.evidence.Lookahead()], progress=False)
        >>> trial.root_mean_square_error < 1e-3, trial.verdict
        (True, 'reliable')
    """

    problem: Problem
    estimator: str
    results: tuple[Evidence, ...]
    seconds: float
    refusal: str = ""

    @property
    def errors(self) -> Tensor:
        """Estimate less exact answer, `(seeds, N)`, in nats."""
        estimates = torch.stack([result.log_evidence for result in self.results])
        return estimates - self.problem.log_evidence

    @property
    def error(self) -> float:
        """The mean error over data and seeds, in nats."""
        return float(self.errors.mean())

    @property
    def standard_error(self) -> float:
        """The standard error of that mean, as the estimator reports it."""
        squares = sum(result.mean_standard_error**2 for result in self.results)
        return float(squares**0.5 / len(self.results))

    @property
    def z(self) -> float:
        """The mean error beyond the discretisation error and rounding, in standard errors."""
        slack = fmean(r.total_discretization_error / r.num_data for r in self.results)
        slack += ROUNDING * abs(float(self.problem.log_evidence.mean()))
        excess = abs(self.error) - slack
        if excess <= 0:
            return 0.0
        size = excess / self.standard_error if self.standard_error > 0 else inf
        return size if self.error > 0 else -size

    @property
    def root_mean_square_error(self) -> float:
        """Over data and seeds, in nats."""
        return float(self.errors.square().mean().sqrt())

    @property
    def cost(self) -> float:
        """Squared error times likelihood evaluations: what does not depend on the sample's size."""
        evaluations = fmean(r.num_likelihood_evaluations for r in self.results)
        return self.root_mean_square_error**2 * evaluations

    @property
    def is_refused(self) -> bool:
        """Whether the estimator does not apply to the problem."""
        return bool(self.refusal)

    @property
    def is_lower_bound(self) -> bool:
        """Whether its results are lower bounds."""
        return any(result.is_lower_bound for result in self.results)

    @property
    def num_unreliable(self) -> int:
        """The number of estimates, over data and seeds, that the estimator does not trust."""
        return sum(int(result.verdict.unreliable.sum()) for result in self.results)

    @property
    def is_reliable(self) -> bool:
        """Whether there are estimates of the evidence, and the estimator trusts all of them."""
        return not (self.is_refused or self.is_lower_bound or self.num_unreliable)

    @property
    def verdict(self) -> str:
        """`reliable`, or how many of the estimates are not; or that it is a bound, or refused."""
        if self.is_refused:
            return "refused"
        if self.is_lower_bound:
            return "lower bound"
        count = sum(result.num_data for result in self.results)
        return "reliable" if self.is_reliable else f"{self.num_unreliable}/{count} bad"

    def to_dict(self) -> dict[str, str | float | None]:
        """The trial as plain values; None where it was refused."""
        names = ("error", "standard_error", "z", "root_mean_square_error", "cost")
        return {
            "problem": self.problem.name,
            "estimator": self.estimator,
            **{name: None if self.refusal else getattr(self, name) for name in names},
            "verdict": self.verdict,
            "seconds": self.seconds,
            "refusal": self.refusal,
        }


@dataclass(frozen=True)
class Validation:
    """Every estimator on every problem.

    Attributes:
        trials: The trials, problem by problem.

    Example:
        >>> import lvkam_pyro as lv
        >>> problems = [lv.problems.load_problem(name) for name in ("linear_gaussian_1", "funnel")]
        >>> validation = lv.problems.validate(problems, [lv.evidence.Lookahead()], progress=False)
        >>> validation.to_frame()["verdict"].tolist()
        ['reliable', 'refused']
    """

    trials: tuple[ValidationTrial, ...]

    def __iter__(self) -> Iterator[ValidationTrial]:
        return iter(self.trials)

    def to_frame(self) -> DataFrame:
        """A row a trial."""
        return DataFrame([trial.to_dict() for trial in self.trials])


def validate(
    problems: Sequence[Problem],
    estimators: Sequence[Estimator],
    *,
    seeds: Sequence[int] = (0,),
    progress: bool = True,
) -> Validation:
    """Run every estimator on every problem and measure it against the exact answer.

    No estimator gets a guide: those that use one propose from the prior. Estimators with equal
    ladders share their draws, and each is charged for all of them.

    Args:
        problems: What to estimate.
        estimators: What to estimate it by.
        seeds: One run of everything for each.
        progress: Whether to show a progress bar.

    Returns:
        A trial for each problem and estimator; those that refuse a problem say why.

    Raises:
        ValueError: If there is no problem, no estimator or no seed.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_10")
        >>> (trial,) = validate([problem], [lv.evidence.Lookahead(64)], progress=False)
        >>> abs(trial.error) < 1e-3
        True
    """
    if not (problems and estimators and seeds):
        raise ValueError(
            "Expected at least one problem, one estimator and one seed, but got "
            f"{len(problems)}, {len(estimators)} and {len(seeds)}."
        )
    bar = tqdm(total=len(problems) * len(estimators), desc="validation", disable=not progress)
    trials = []
    with bar:
        for problem in problems:
            timers = [_Timer(problem, seed) for seed in seeds]
            for estimator in estimators:
                bar.set_postfix_str(f"{problem.name}, {estimator.name}")
                trials.append(_try(problem, estimator, timers))
                bar.update()
    return Validation(tuple(trials))


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


def _try(problem: Problem, estimator: Estimator, timers: Sequence[_Timer]) -> ValidationTrial:
    try:
        timed = [timer.estimate(estimator) for timer in timers]
    except (TypeError, ValueError) as error:
        return ValidationTrial(problem, estimator.name, (), 0.0, " ".join(str(error).split()))
    results = tuple(result for result, _ in timed)
    return ValidationTrial(problem, estimator.name, results, fmean(seconds for _, seconds in timed))
