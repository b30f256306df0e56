"""Ladders and estimates of the log evidence as groups, and estimates as a source of their own."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Coordinate, Groups, Named
from lvkam_pyro.arviz.layout import UnitLayout
from lvkam_pyro.arviz.marginal import best_estimate, draw_estimate, named_evidence
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.options import check_count
from lvkam_pyro.tracing.session import seeded_rng

_NAME = "log_evidence"
_LAYOUT = UnitLayout(latent_dims={}, observed_name=_NAME)


def ladder_groups_of(ladder: LadderSamples, layout: UnitLayout) -> dict[str, xr.Dataset]:
    """The chains' record at each temperature.

    Args:
        ladder: Draws `(D, C, T, U)` from the power posteriors.
        layout: Names of the axes.

    Returns:
        `power_posterior`, with `log_likelihood` (from a guide `log_ratio`, of the posterior's joint
        density to the guide's) over (chain, draw, temperature, data), and the latents likewise if
        the ladder kept its path; and `power_sample_stats`, with `acceptance` and `step_size` over
        (temperature, data) and `swap_rate` over (swap, data), swap k being that of temperatures k
        and k + 1.
    """
    dims, coords = (*SAMPLE, "temperature"), _coords(ladder)
    name = "log_ratio" if ladder.from_guide else "log_likelihood"
    power = {
        name: layout.unit(ladder.log_likelihood.transpose(0, 1), *dims),
        **{
            name: layout.latent(name, values.transpose(0, 1), *dims)
            for name, values in ladder.path.items()
        },
    }
    statistics = {
        "acceptance": layout.unit(ladder.acceptance, "temperature"),
        "step_size": layout.unit(ladder.step_size, "temperature"),
        "swap_rate": layout.unit(ladder.swap_rate, "swap"),
    }
    attrs = {"num_likelihood_evaluations": ladder.num_likelihood_evaluations}
    return {
        "power_posterior": layout.group(power, coords=coords),
        "power_sample_stats": layout.group(statistics, coords=coords, attrs=attrs),
    }


def thermodynamic_group(
    ladder: LadderSamples | None, estimates: Sequence[Evidence], layout: UnitLayout
) -> xr.Dataset:
    """The thermodynamic curve a datum, and each estimator's log evidence.

    Args:
        ladder: Draws from the power posteriors, if there were any.
        estimates: Estimates of one model, named by their estimators.
        layout: Names of the axes.

    Returns:
        `mean_log_lik`, `var_log_lik`, `mcse`, `ess`, `rhat` over (temperature, data) and
        `log_evidence`, `se`, `discretization_error` (0 without any), `unreliable` over (estimator,
        data).
    """
    variables: dict[str, Named] = {}
    coords: dict[str, Coordinate] = {}
    if ladder is not None:
        for name, values in _curve(ladder).items():
            variables[name] = layout.unit(values, "temperature")
        coords |= _coords(ladder)
    if estimates:
        for name, values in _table(estimates).items():
            variables[name] = layout.unit(values, "estimator")
        coords["estimator"] = [one.estimator for one in estimates]
    return layout.group(variables, coords=coords)


def _table(estimates: Sequence[Evidence]) -> dict[str, Tensor]:
    nothing = torch.zeros_like(estimates[0].log_evidence)
    errors = [one.discretization_error for one in estimates]
    return {
        "log_evidence": torch.stack([one.log_evidence for one in estimates]),
        "se": torch.stack([one.standard_error for one in estimates]),
        "discretization_error": torch.stack([nothing if e is None else e for e in errors]),
        "unreliable": torch.stack([one.verdict.unreliable for one in estimates]),
    }


def _curve(ladder: LadderSamples) -> dict[str, Tensor]:
    values = ladder.log_likelihood.flatten(0, 1)
    variance = values.var(0)
    return {
        "mean_log_lik": values.mean(0),
        "var_log_lik": variance,
        "mcse": (variance / ladder.ess).sqrt(),
        "ess": ladder.ess,
        "rhat": ladder.rhat,
    }


def _coords(ladder: LadderSamples) -> dict[str, Coordinate]:
    return {"temperature": ladder.temperatures.tolist()}


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
    groups = _model_groups([evidence], num_draws, num_chains, seed)
    return {**groups, "posterior": groups["posterior"].isel(estimator=0, drop=True)}


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
            [named_evidence(row) for row in comparison if row.model == name],
            num_draws,
            num_chains,
            seed,
        )
        for name in models
    }


def _model_groups(
    estimates: Sequence[Evidence], num_draws: int, num_chains: int, seed: int
) -> dict[str, xr.Dataset]:
    draws = _draw(estimates, num_draws, num_chains, seed)
    names = [one.estimator for one in estimates]
    best = best_estimate(estimates).estimator
    drawn = _LAYOUT.unit(draws, *SAMPLE, "estimator")
    of_best = _LAYOUT.unit(draws[:, :, names.index(best)], *SAMPLE)
    return {
        "posterior": _LAYOUT.group({_NAME: drawn}, coords={"estimator": names}),
        "log_likelihood": _LAYOUT.group({_NAME: of_best}, attrs={"estimator": best}),
        "thermodynamic": thermodynamic_group(None, estimates, _LAYOUT),
    }


def _draw(estimates: Sequence[Evidence], num_draws: int, num_chains: int, seed: int) -> Tensor:
    """Draws of each estimate `(C, D, estimators, N)`."""
    check_count("num_draws", num_draws)
    check_count("num_chains", num_chains)
    with seeded_rng(seed, estimates[0].log_evidence):
        draws = [draw_estimate(one, num_chains * num_draws) for one in estimates]
    return torch.stack(draws, 1).unflatten(0, (num_chains, num_draws))
