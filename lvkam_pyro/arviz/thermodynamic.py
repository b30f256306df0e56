"""Groups of a ladder of power posteriors, and the estimates of the log evidence."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Coordinate, Named
from lvkam_pyro.arviz.layout import UnitLayout
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples


def ladder_groups_of(ladder: LadderSamples, layout: UnitLayout) -> dict[str, xr.Dataset]:
    """The chains' record at each temperature.

    Args:
        ladder: Draws `(D, C, T, U)` from the power posteriors.
        layout: Names of the axes.

    Returns:
        `power_posterior`, with `log_likelihood` over (chain, draw, temperature, data), and the
        latents likewise if the ladder kept its path; and `power_sample_stats`, with `acceptance`
        and `step_size` over (temperature, data) and `swap_rate` over (swap, data), swap k being
        that of temperatures k and k + 1.
    """
    dims, coords = (*SAMPLE, "temperature"), _coords(ladder)
    power = {
        "log_likelihood": layout.unit(ladder.log_likelihood.transpose(0, 1), *dims),
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
        curve = _curve(ladder)
        variables |= {name: layout.unit(values, "temperature") for name, values in curve.items()}
        coords |= _coords(ladder)
    if estimates:
        found = _table(estimates)
        variables |= {name: layout.unit(values, "estimator") for name, values in found.items()}
        coords["estimator"] = [one.estimator for one in estimates]
    return layout.group(variables, coords=coords)


def _table(estimates: Sequence[Evidence]) -> dict[str, Tensor]:
    return {
        "log_evidence": torch.stack([one.log_evidence for one in estimates]),
        "se": torch.stack([one.standard_error for one in estimates]),
        "discretization_error": torch.stack([_discretization(one) for one in estimates]),
        "unreliable": torch.stack([one.verdict.unreliable for one in estimates]),
    }


def _discretization(evidence: Evidence) -> Tensor:
    error = evidence.discretization_error
    return torch.zeros_like(evidence.log_evidence) if error is None else error


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
