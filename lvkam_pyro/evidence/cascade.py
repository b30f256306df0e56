"""One result from several estimators that ran one after the other, each on the data left over."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch
from scipy.stats import t as student_t
from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.verdict import Gate, Verdict
from lvkam_pyro.statistics.jackknife import jackknife_error

_RATE = 1e-4
"""The chance that two sound values of a datum are said to disagree."""

_MAX_EXCESS = -math.log(_RATE)
"""Nats by which an unbiased estimate exceeds the evidence at that rate (Markov's inequality)."""

_LEAST_EXCESS = 1.0
"""Nats by which a value with a small error is above another that has missed a mode."""

_CONTROL_LIMIT = 4.0
"""Standard errors between two values of which one is wrong."""

_NUM_CONTROLS = 8

_ROUNDING = 1e-5


@dataclass(frozen=True)
class Step:
    """One estimator's run.

    Attributes:
        evidence: Its result.
        data: The indices of the data that it ran on, `(M,)`.
        unreliable: Which of all data it has no reliable value of, `(N,)`.
        needs_control: Whether it is believed only where others, that do not, say the same.
        contradicted: Whether one of these said otherwise.
    """

    evidence: Evidence
    data: Tensor
    unreliable: Tensor
    needs_control: bool = False
    contradicted: bool = False

    @property
    def believed(self) -> Tensor:
        """The data of which it has a reliable value that no control has contradicted, `(N,)`."""
        return ~self.unreliable & (not self.contradicted)

    def spread(self, values: Tensor, missing: float) -> Tensor:
        """Values `(M,)` of its data at their places among all, `(N,)`."""
        full = torch.full(self.unreliable.shape, missing, dtype=torch.float64)
        full[self.data] = values.double()
        return full


class Steps:
    """The runs so far, and the data that a next one is of.

    Of the data of steps that need a control some are left to the steps to come. Where a reliable
    value of these contradicts one, none of their values is believed: they may share a guide.

    Args:
        num_data: N.

    Attributes:
        all: The steps, in their order.
        left: The data that go on, `(N,)`.
        are_new: Those of them that the last step has sent on by contradicting others, `(N,)`.

    Example:
        >>> Steps(3).left
        tensor([True, True, True])
    """

    def __init__(self, num_data: int) -> None:
        self.all: list[Step] = []
        self.left = torch.ones(num_data, dtype=torch.bool)
        self.are_new = torch.zeros_like(self.left)

    def add(self, step: Step) -> None:
        """Take the next run."""
        if not step.needs_control and any(_contradicts(step, one) for one in self.all):
            self.all = [replace(one, contradicted=one.needs_control) for one in self.all]
        self.all.append(step)
        nothing = torch.zeros_like(self.left)[None]
        final, quick = (
            torch.cat([nothing, *(s.believed[None] for s in self.all if s.needs_control == needs)])
            for needs in (False, True)
        )
        left = ~(final.any(0) | (quick.any(0) & ~_spaced(quick.any(0))))
        self.are_new = left & ~self.left if not step.needs_control else torch.zeros_like(left)
        self.left = left


def _spaced(mask: Tensor) -> Tensor:
    """Some of the data that a mask shows, evenly spaced, `(N,)`."""
    known = mask.nonzero()[:, 0]
    places = torch.linspace(0, len(known) - 1, min(_NUM_CONTROLS, len(known))).round().long()
    return torch.zeros_like(mask).index_fill(0, known[places], value=True)


def _contradicts(control: Step, step: Step) -> bool:
    """Whether a control has another reliable value of a datum than a step that needs one."""
    both = ~step.unreliable & ~control.unreliable
    values, errors, slack = (
        torch.stack([read(step), read(control)])
        for read in (_log_evidence, _standard_error, _slack)
    )
    apart = _standard_errors_apart(values, errors, slack, torch.zeros_like(both).long()[None])[1]
    return step.needs_control and bool((both & (apart > _CONTROL_LIMIT)).any())


def _log_evidence(step: Step) -> Tensor:
    return step.spread(step.evidence.log_evidence, -torch.inf)


def _standard_error(step: Step) -> Tensor:
    return step.spread(step.evidence.standard_error, torch.inf)


def _slack(step: Step) -> Tensor:
    return step.spread(_discretization_error(step.evidence), 0.0)


@dataclass(frozen=True)
class CascadeEvidence(Evidence):
    """Evidence whose data have their values from different estimators.

    Attributes:
        steps: All results, in the order in which they ran; the later ones of fewer data.
        skipped: Why estimators did not apply to the model, a sentence for each.

    Example:
        >>> import lvkam_pyro as lv
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> evidence = lv.evidence.Auto().estimate(model, torch.zeros(2))
        >>> evidence.methods
        ('Quadrature', 'Quadrature')
    """

    steps: tuple[Evidence, ...] = field(default=())
    skipped: tuple[str, ...] = field(default=())

    @property
    def methods(self) -> tuple[str, ...]:
        """The name of the estimator that each datum's value comes from."""
        names = [step.estimator for step in self.steps]
        return tuple(names[int(index)] for index in self.diagnostics["method"])


def combine_steps(
    steps: Sequence[Step], skipped: Sequence[str], *, data_hash: str, estimator: str
) -> CascadeEvidence:
    """For each datum the first reliable value, or the one of the smallest error where none is.

    Nothing is averaged. The error of the total adds up those of the estimators' totals over the
    data that are theirs, as independent. Two values of a datum that are both reliable but differ
    by more than their errors are flagged; so is a value below another one, reliable or not, by a
    nat and four errors or by what is rare whatever the error: an unbiased estimate is rarely far
    above the evidence, so the value has missed a mode.

    Args:
        steps: At least one, the first of all data.
        skipped: Why other estimators did not run.
        data_hash: The observations' short name.
        estimator: The display name.

    Returns:
        The evidence.
    """
    log_evidence, error, slack = (
        torch.stack(list(map(read, steps))) for read in (_log_evidence, _standard_error, _slack)
    )
    has_value = torch.stack([s.spread(torch.ones(len(s.data)), 0.0) for s in steps]).bool()
    reliable = has_value & ~torch.stack([s.unreliable for s in steps])
    known = has_value & log_evidence.isfinite() & (error + slack).isfinite()
    honest = torch.where(known, error + slack, torch.inf)
    last = len(steps) - 1 - has_value.flip(0).long().argmax(0)
    surest = torch.where(honest.amin(0) < torch.inf, honest.argmin(0), last)
    believed = reliable & torch.stack([s.believed for s in steps])
    method = torch.where(believed.any(0), believed.long().argmax(0), surest)
    chosen = method[None]
    value, own_error = (t.gather(0, chosen)[0] for t in (log_evidence, error))
    differs = _standard_errors_apart(log_evidence, error, slack, chosen)
    # What a control has contradicted from above has missed something, and that is known.
    is_outdone = torch.tensor([[s.contradicted] for s in steps]) & (log_evidence < value)
    counts = reliable & reliable.gather(0, chosen) & ~is_outdone
    disagreement = torch.where(counts, differs, 0.0).amax(0)
    above = log_evidence - slack - value - slack.gather(0, chosen)
    # A noisy value may be far above by its own error, but not beyond what is rare at all.
    sure = (above > _MAX_EXCESS) | (differs > _CONTROL_LIMIT)
    excess = torch.where(sure, above, 0.0).nan_to_num(0.0, posinf=torch.inf).amax(0).clamp(min=0)
    gates = [
        Gate(~believed.any(0), "have no reliable value by any method"),
        Gate.above("a disagreement of methods in standard errors", disagreement, _limit(steps)),
        Gate.above("an excess of another method in nats", excess, _LEAST_EXCESS),
    ]
    used = [steps[index].evidence for index in method.unique().tolist()]
    return CascadeEvidence(
        log_evidence=value,
        standard_error=own_error,
        total=float(value.sum()),
        total_standard_error=_total_error(steps, method),
        diagnostics={"method": method.double(), "disagreement": disagreement, "excess": excess},
        verdict=_verdict(gates, steps),
        num_likelihood_evaluations=_count_evaluations(steps),
        estimator=estimator,
        num_replicates=min(one.num_replicates for one in used),
        data_hash=data_hash,
        discretization_error=slack.gather(0, chosen)[0],
        data_scale=steps[0].evidence.data_scale,
        is_lower_bound=any(one.is_lower_bound for one in used),
        steps=tuple(step.evidence for step in steps),
        skipped=tuple(skipped),
    )


def _discretization_error(evidence: Evidence) -> Tensor:
    error = evidence.discretization_error
    return torch.zeros_like(evidence.log_evidence) if error is None else error


def _limit(steps: Sequence[Step]) -> float:
    freedom = min(step.evidence.num_replicates for step in steps) - 1
    return round(float(student_t.isf(_RATE / 2, freedom)), 1)


def _standard_errors_apart(
    log_evidence: Tensor, error: Tensor, slack: Tensor, chosen: Tensor
) -> Tensor:
    """Distances of the values from the chosen one in standard errors, `(steps, N)`."""
    value = log_evidence.gather(0, chosen)
    allowed = slack + slack.gather(0, chosen) + _ROUNDING * (1 + value.abs())
    beyond = ((log_evidence - value).abs() - allowed).clamp(min=0)
    both = torch.hypot(error, error.gather(0, chosen))
    return torch.where(beyond > 0, beyond / both, 0.0)


def _total_error(steps: Sequence[Step], method: Tensor) -> float:
    """The root of the sum of the squared errors of each method's own total."""
    own = (method[step.data] == index for index, step in enumerate(steps))
    return math.hypot(*map(_partial_total_error, (step.evidence for step in steps), own))


def _partial_total_error(evidence: Evidence, own: Tensor) -> float:
    """The standard error of the total over some of the data."""
    if evidence.leave_one_out is None:
        # Draws shared by data err together: at worst, entirely.
        return float(evidence.standard_error[own].sum())
    return float(jackknife_error(evidence.leave_one_out[:, own].sum(1)))


def _count_evaluations(steps: Sequence[Step]) -> int:
    """The mean likelihood evaluations of the data, rounded up."""
    num_data = len(steps[0].unreliable)
    spent = sum(s.evidence.num_likelihood_evaluations * len(s.data) for s in steps)
    return math.ceil(spent / num_data)


def _verdict(gates: Sequence[Gate], steps: Sequence[Step]) -> Verdict:
    """The verdict, with the last method's own reasons where no method is reliable."""
    last = steps[-1].evidence
    verdict = Verdict.of(gates, remedy=last.verdict.remedy or "Read the steps' own verdicts.")
    if not bool(gates[0].failed.any()):
        return verdict
    reasons = tuple(f"{last.estimator}: {reason}" for reason in last.verdict.reasons)
    return Verdict(False, verdict.reasons + reasons, verdict.remedy, verdict.unreliable)
