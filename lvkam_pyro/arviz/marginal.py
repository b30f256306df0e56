r"""Draws of the marginal log-likelihood :math:`\log p(x_n)`: what `az.loo` looks at.

With the parameters fixed, :math:`\log p(x_n)` is one value a datum, known up to the error of its
estimate. ArviZ wants draws of it. A draw here is a draw from the sampling distribution of the
estimate, so that the draws' mean is the estimate, their spread is its standard error, and `p_loo`
is the Monte Carlo error in nats (0 if exact) instead of a number of parameters. Independent small
estimates would not do: `az.loo` takes their harmonic mean, which is too low by their whole
variance.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from lvkam_pyro.arviz.draws import PosteriorDraws
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.comparison.rows import EvidenceRow
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.program import BoundProgram

_NUM_ROUNDINGS = 4.0
"""Standard deviation of the noise that parts equal draws, in roundings of their values."""


def draw_marginal(draws: PosteriorDraws) -> tuple[Tensor, str]:
    """Draws of the marginal log likelihood, as many as of the posterior.

    They are of the best estimate; without one, of steppingstone on the ladder; else of importance
    sampling with the particles.

    Args:
        draws: The posterior, with something that tells the evidence.

    Returns:
        `(C, D, U)`, and the name of the estimator.
    """
    evidence = best_estimate(draws.estimates) if draws.estimates else None
    if evidence is None and draws.ladder is not None:
        evidence = SteppingStone().estimate_from(draws.ladder)
    if evidence is not None:
        drawn, estimator = draw_estimate(evidence, draws.num_draws), evidence.estimator
    else:
        log_weights = torch.cat([chain.log_weights for chain in draws.particles])
        drawn, estimator = bootstrap_importance(log_weights, draws.num_draws), "Importance"
    return drawn.unflatten(0, draws.shape), estimator


def bootstrap_importance(log_weights: Tensor, num_draws: int) -> Tensor:
    r"""Bayesian bootstrap of the importance-sampling estimate.

    .. math:: \log \frac{\sum_s g_s w_{sn}}{\sum_s g_s}, \qquad g_s \sim \mathrm{Exponential}(1)

    The :math:`g_s` are shared by all data, so that totals over the data have the spread that shared
    particles give them.

    Args:
        log_weights: Log weights `(S, N)`.
        num_draws: Number of draws D.

    Returns:
        Draws `(D, N)`.

    References:
        Rubin, D. B. (1981). The Bayesian bootstrap. Annals of Statistics 9, 130-134.
        https://doi.org/10.1214/aos/1176345338

    Example:
        >>> bootstrap_importance(torch.full((100, 3), -2.0), 5).shape
        torch.Size([5, 3])
    """
    shares = torch.empty(num_draws, len(log_weights)).exponential_().to(log_weights)
    shares = shares / shares.sum(-1, keepdim=True)
    largest = log_weights.amax(0).clamp(min=torch.finfo(log_weights.dtype).min)
    return _without_ties((shares @ (log_weights - largest).exp()).log() + largest)


def draw_estimate(evidence: Evidence, num_draws: int) -> Tensor:
    """Normal draws around an estimate, with its standard error.

    Args:
        evidence: An estimate for each datum.
        num_draws: Number of draws D.

    Returns:
        Draws `(D, N)`.
    """
    noise = torch.randn(num_draws, len(evidence.log_evidence)).to(evidence.log_evidence)
    return _without_ties(evidence.log_evidence + evidence.standard_error * noise)


def _without_ties(draws: Tensor) -> Tensor:
    """The draws in double precision with noise of the size of their rounding.

    Those of an exact evidence are all equal, and `az.loo` takes a tail of equal values for one
    without a fit, and warns.
    """
    rounding = _NUM_ROUNDINGS * torch.finfo(draws.dtype).eps * draws.abs().clamp(min=1.0)
    noise = torch.randn(draws.shape, dtype=draws.dtype).to(draws)
    return draws.double() + torch.where(draws.isfinite(), rounding * noise, 0.0).double()


def estimates_of(
    evidence: Evidence | EvidenceComparison | None,
    program: BoundProgram | None = None,
    ladder: LadderSamples | None = None,
) -> list[Evidence]:
    """All estimates, which must be of one model, and with the ladder of a program's data.

    Args:
        evidence: An estimate, several, or none.
        program: The program, if it is at hand.
        ladder: The ladder, if there is one.

    Raises:
        ValueError: If they are of several models, or one is of other data.

    Example:
        >>> estimates_of(None)
        []
    """
    rows = list(evidence) if isinstance(evidence, EvidenceComparison) else []
    models = sorted({row.model for row in rows})
    if len(models) > 1:
        raise ValueError(
            f"Expected evidence of one model, got a comparison of {models}. Compare the estimators "
            "of this model alone, or pass one Evidence."
        )
    found = [evidence] if isinstance(evidence, Evidence) else [named_evidence(r) for r in rows]
    if program is not None:
        hashes = {one.estimator: one.data_hash for one in found}
        check_same_data(program, hashes | ({"ladder": ladder.data_hash} if ladder else {}))
    return found


def named_evidence(row: EvidenceRow) -> Evidence:
    """The evidence of a row under the row's name: two recipes may have estimators of one name.

    Args:
        row: A row of a comparison.
    """
    return replace(row.evidence, estimator=row.method)


def best_estimate(estimates: Sequence[Evidence]) -> Evidence:
    """The estimate to go by: no bound, few data unreliable, and of these that of least error.

    Args:
        estimates: At least one, of one model.
    """
    return min(estimates, key=_doubt)


def _doubt(evidence: Evidence) -> tuple[bool, int, float]:
    error = evidence.total_standard_error + evidence.total_discretization_error
    num_unreliable = int(evidence.verdict.unreliable.sum())
    return evidence.is_lower_bound, num_unreliable, error


def check_same_data(program: BoundProgram, data_hashes: Mapping[str, str]) -> None:
    """Refuses what belongs to other data than a program's.

    Args:
        program: The program.
        data_hashes: Name of each thing to the short name of its data.

    Raises:
        ValueError: If they are others.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> program = lv.bind(problem.model, problem.x)
        >>> check_same_data(program, {"ladder": program.data_hash})
    """
    others = [name for name, known in data_hashes.items() if known != program.data_hash]
    if others:
        raise ValueError(
            f"Expected results on these data of shape {tuple(program.like.shape)}, but "
            f"{', '.join(others)} was computed for others. Pass the same data to all."
        )
