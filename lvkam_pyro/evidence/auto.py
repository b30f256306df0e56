"""The evidence by the first method that is reliable, for each datum."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.evidence.annealed import MixtureSMC, TemperedSMC
from lvkam_pyro.evidence.cascade import CascadeEvidence, Step, Steps, combine_steps
from lvkam_pyro.evidence.estimator import Estimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import Importance, MixtureImportance
from lvkam_pyro.evidence.lookahead import Lookahead
from lvkam_pyro.evidence.multistate import GridGibbs, MultistateBAR
from lvkam_pyro.evidence.quadrature import Quadrature
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarlo
from lvkam_pyro.ladder.hmc import HMC, MALA
from lvkam_pyro.ladder.ladder import Ladder
from lvkam_pyro.ladder.leapfrog import MAX_LANGEVIN_COORDINATES
from lvkam_pyro.ladder.reference import starts_at_prior
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.structure import Unit

MAX_QUASI_COORDINATES = 8
"""Latents above which quasi-random points are hardly better than random ones."""

MAX_JOINT_COORDINATES = 2
"""Latents of a data set as a whole up to which quadrature is cheap."""

_SMALL = 128
"""Values of a data set that counts as small."""

_MAX_VALUES = 2**14
"""Values of a data set for the same."""

MAX_MIXTURE_COORDINATES = 20
"""Latents of a data set above which a fitted mixture is hardly ever a good proposal."""

_MAX_PARETO_K = 0.5
"""A guide's weights are cheap to replace: they must have a variance."""


@dataclass(frozen=True)
class _Method:
    """An estimator, with the proposal that it is given.

    Attributes:
        estimator: The estimator.
        guide: The proposal, if any.
        needs_control: Whether its values are believed only where others say the same.
    """

    estimator: Estimator
    guide: Program | None = None
    needs_control: bool = False

    def run(self, program: BoundProgram, left: Tensor, seed: int) -> Step:
        """Its run on the data that are left, `(N,)`."""
        data = _data_of(program, left)
        some = program.rows(data) if len(data) < program.num_units else program
        evidence = self.estimator.estimate_bound(some, self.guide, seed)
        unreliable = _without_value(self.estimator, evidence, data, program.num_units)
        return Step(evidence, data, unreliable, self.needs_control)


class Auto(Estimator):
    r"""Several methods in order of their cost, each on the data that have no reliable value yet.

    1. `Quadrature`, for up to three latents of a datum, or two of a data set as a whole.
    2. `Importance` with the guide, if there is one (Pareto k below 0.5), and `MultistateBAR` on a
       ladder that begins at the guide.
    3. `QuasiMonteCarlo` from the prior, for up to eight latents (k below 0.5).
    4. `Lookahead` and then `GridGibbs`, for additive models.
    5. `MixtureImportance`.
    6. `TemperedSMC` and `MixtureSMC`, of a data set as a whole; above 20 latents `MixtureSMC` alone
       in place of both and of 5.
    7. `MultistateBAR` on the default ladder, for any model (by HMC above 100 latents).

    A method that does not apply to the model is skipped. What a guide or points of the prior alone
    have said (2 and 3) is believed after a control: up to eight of these data go on to the later
    methods, and where one of them has another value all go on. (Where no later method is reliable
    there either, what was said stands.) The steps are an audit of each other: values that
    contradict each other are flagged. Where no method is reliable the value of
    the smallest error stands, flagged.

    Each datum's value comes from one method; nothing is averaged. The result is a
    `CascadeEvidence`: `steps` holds every result, `methods` says which one a datum's value comes
    from. Diagnostics: `method` (the index of the step), `disagreement` and `excess`, `(N,)` each,
    of the values that several methods have of a datum. A mode that no method has seen leaves no
    trace in any of them. The loss is that of the first method that applies, whatever its verdict.

    Args:
        estimators: The methods, in order; None: those above.

    Raises:
        ValueError: If there is no estimator; when used, if none applies to the model, or the guide
            does not fit it.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(12), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> Auto().estimate(model, torch.zeros(2)).methods
        ('Lookahead', 'Lookahead')
    """

    name = "Auto"

    def __init__(self, estimators: Sequence[Estimator] | None = None) -> None:
        super().__init__()
        if estimators is not None and not estimators:
            raise ValueError("Expected at least one estimator, but got none. Pass None: default.")
        self.estimators = None if estimators is None else tuple(estimators)

    def estimate_bound(
        self, program: BoundProgram, guide: Program | None, seed: int
    ) -> CascadeEvidence:
        """Estimate the log evidence; see `Estimator.estimate`."""
        steps = Steps(program.num_units)
        skipped: list[str] = []
        failure = ValueError("")
        for method in self._methods(program, guide):
            try:
                steps.add(method.run(program, steps.left, seed))
                if bool(steps.are_new.any()):
                    # A control has sent data on: its own method is the next to serve them.
                    steps.add(method.run(program, steps.are_new, seed))
            except ValueError as error:
                skipped.append(f"{method.estimator.name}: {error}")
                failure = error
            if not bool(steps.left.any()):
                break
        if not steps.all:
            raise failure
        return combine_steps(steps.all, skipped, data_hash=program.data_hash, estimator=self.name)

    def _methods(self, program: BoundProgram, guide: Program | None) -> list[_Method]:
        """The estimators in order."""
        if self.estimators is not None:
            return [_Method(estimator, guide) for estimator in self.estimators]
        is_small = program.structure.num_coordinates <= MAX_QUASI_COORDINATES
        quasi = [_Method(QuasiMonteCarlo(), None, needs_control=True)] if is_small else []
        return [
            *([_Method(Quadrature())] if _is_cheap(program) else []),
            *([] if guide is None else _guided_methods(guide)),
            *quasi,
            _Method(Lookahead()),
            _Method(GridGibbs()),
            *map(_Method, _general_methods(program)),
        ]

    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total of the first method that applies, with its gradient."""
        failure = ValueError("")
        for method in self._methods(program, guide):
            try:
                return method.estimator.log_evidence(program, method.guide)
            except ValueError as error:
                failure = error
        raise failure


def _guided_methods(guide: Program) -> list[_Method]:
    """The methods that see what the guide sees, and nothing else."""
    importance = _Method(Importance(), guide, needs_control=True)
    ladder = _Method(MultistateBAR(), guide, needs_control=True)
    return [importance] if starts_at_prior(guide) else [importance, ladder]


def _is_cheap(program: BoundProgram) -> bool:
    """Whether nodes are: of a data set as a whole each of them costs a run of all data."""
    is_short = program.values_per_unit <= _MAX_VALUES
    is_flat = program.structure.num_coordinates <= MAX_JOINT_COORDINATES
    return program.unit is Unit.DATUM or (is_short and is_flat)


def _general_methods(program: BoundProgram) -> list[Estimator]:
    """The estimators that serve any model, in order."""
    num_coordinates = program.structure.num_coordinates
    kernel = MALA() if num_coordinates <= MAX_LANGEVIN_COORDINATES else HMC(num_steps=8)
    ladder = MultistateBAR(Ladder(kernel=kernel))
    if program.unit is Unit.DATUM:
        return [MixtureImportance(), ladder]
    # One ladder's temperatures suit most of many data, but not every data set with a vague prior.
    is_small = num_coordinates <= MAX_MIXTURE_COORDINATES
    few: list[Estimator] = [MixtureImportance(), _population(program)] if is_small else []
    return [*few, MixtureSMC(), ladder]


def _population(program: BoundProgram) -> TemperedSMC:
    """More particles than by default where a data set is small, and they cost next to nothing."""
    return TemperedSMC(8192) if program.values_per_unit <= _SMALL else TemperedSMC()


def _data_of(program: BoundProgram, left: Tensor) -> Tensor:
    """The data to run on: those that are left, or all where they cannot be taken apart."""
    return left.nonzero()[:, 0] if program.takes_any else torch.arange(program.num_units)


def _without_value(estimator: Estimator, evidence: Evidence, data: Tensor, num_data: int) -> Tensor:
    """Which of all data have no reliable value from a run on some of them, `(N,)`."""
    unreliable = torch.ones(num_data, dtype=torch.bool)
    unreliable[data] = evidence.verdict.unreliable
    if type(estimator) is Importance:
        unreliable[data] |= ~(evidence.diagnostics["pareto_k"] <= _MAX_PARETO_K)
    return unreliable
