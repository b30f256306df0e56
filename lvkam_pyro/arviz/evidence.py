"""Estimates of the log evidence as a source, without their model."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Groups
from lvkam_pyro.arviz.layout import UnitLayout
from lvkam_pyro.arviz.marginal import best_estimate, draw_estimate
from lvkam_pyro.arviz.thermodynamic import thermodynamic_group
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.tracing.options import check_count
from lvkam_pyro.tracing.session import seeded_rng

_NAME = "log_evidence"
_LAYOUT = UnitLayout(latent_dims={}, observed_name=_NAME)


def evidence_groups(
    evidence: Evidence, *, num_draws: int = 500, num_chains: int = 4, seed: int = 0
) -> Groups:
    """One estimate: draws of its sampling distribution, so that summaries show value and error.

    Args:
        evidence: The estimate.
        num_draws: Draws a chain.
        num_chains: Chains.
        seed: Of the draws.

    Returns:
        `posterior` and `log_likelihood`, both with `log_evidence` over (chain, draw, data), and
        `thermodynamic`.

    Raises:
        TypeError, ValueError: If a count is no integer above 0.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.evidence.Importance(64).estimate(model, torch.rand(4, 3))
        >>> evidence_groups(evidence)["posterior"]["log_evidence"].dims
        ('chain', 'draw', 'data')
    """
    draws = _draw([evidence], num_draws, num_chains, seed)[:, :, 0]
    return {
        "posterior": _LAYOUT.group({_NAME: _LAYOUT.unit(draws, *SAMPLE)}),
        **_shared_groups([evidence], draws),
    }


def comparison_groups(
    comparison: EvidenceComparison, *, num_draws: int = 500, num_chains: int = 4, seed: int = 0
) -> dict[str, Groups]:
    """The groups of each model: as of one estimate, with a further axis `estimator`.

    Args:
        comparison: The estimates.
        num_draws: Draws a chain.
        num_chains: Chains.
        seed: Of the draws.

    Returns:
        Model to groups: `posterior` with `log_evidence` over (chain, draw, estimator, data), the
        `log_likelihood` of the best estimate, and `thermodynamic`.

    Raises:
        TypeError, ValueError: If a count is no integer above 0.
    """
    models = dict.fromkeys(row.model for row in comparison)
    return {
        name: _model_groups(
            [row.evidence for row in comparison if row.model == name], num_draws, num_chains, seed
        )
        for name in models
    }


def _model_groups(
    estimates: Sequence[Evidence], num_draws: int, num_chains: int, seed: int
) -> dict[str, xr.Dataset]:
    draws = _draw(estimates, num_draws, num_chains, seed)
    names = [one.estimator for one in estimates]
    best = draws[:, :, names.index(best_estimate(estimates).estimator)]
    drawn = _LAYOUT.unit(draws, *SAMPLE, "estimator")
    return {
        "posterior": _LAYOUT.group({_NAME: drawn}, coords={"estimator": names}),
        **_shared_groups(estimates, best),
    }


def _shared_groups(estimates: Sequence[Evidence], best: Tensor) -> dict[str, xr.Dataset]:
    attrs = {"estimator": best_estimate(estimates).estimator}
    return {
        "log_likelihood": _LAYOUT.group({_NAME: _LAYOUT.unit(best, *SAMPLE)}, attrs=attrs),
        "thermodynamic": thermodynamic_group(None, estimates, _LAYOUT),
    }


def _draw(estimates: Sequence[Evidence], num_draws: int, num_chains: int, seed: int) -> Tensor:
    """Draws of each estimate `(C, D, estimators, N)`."""
    check_count("num_draws", num_draws)
    check_count("num_chains", num_chains)
    with seeded_rng(seed, estimates[0].log_evidence):
        draws = [draw_estimate(one, num_chains * num_draws) for one in estimates]
    return torch.stack(draws, 1).unflatten(0, (num_chains, num_draws))
