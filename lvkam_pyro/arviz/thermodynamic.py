"""Groups of a ladder of power posteriors, and the estimates of the log evidence."""

from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.datasets import SAMPLE, Coordinate, Named, dataset
from lvkam_pyro.arviz.layout import AxisNames
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples


def ladder_groups_of(ladder: LadderSamples, layout: AxisNames) -> dict[str, xr.Dataset]:
    """What the chains did at each temperature.

    Args:
        ladder: Draws `(D, C, T, N)` from the power posteriors.
        layout: What the axes are called.

    Returns:
        `power_posterior`, with `log_likelihood` over (chain, draw, temperature, data), and the
        latents likewise if the ladder kept its path; and `power_sample_stats`, with `acceptance`
        and `step_size` over (temperature, data) and `swap_rate` over (swap, data), swap k being
        that of temperatures k and k + 1.
    """
    data_dim, dims = layout.data_dim, (*SAMPLE, "temperature")
    attrs = {"num_likelihood_evaluations": ladder.num_likelihood_evaluations}
    power: dict[str, Named] = {
        "log_likelihood": ((*dims, data_dim), ladder.log_likelihood.transpose(0, 1)),
        **{
            name: ((*dims, *layout.latents[name].dims), values.transpose(0, 1))
            for name, values in ladder.path.items()
        },
    }
    return {
        "power_posterior": dataset(power, coords=_coords(ladder)),
        "power_sample_stats": dataset(
            {
                "acceptance": (("temperature", data_dim), ladder.acceptance),
                "step_size": (("temperature", data_dim), ladder.step_size),
                "swap_rate": (("swap", data_dim), ladder.swap_rate),
            },
            coords=_coords(ladder),
            attrs=attrs,
        ),
    }


def thermodynamic_group(
    ladder: LadderSamples | None, estimates: Sequence[Evidence], data_dim: str
) -> xr.Dataset:
    """The thermodynamic curve a datum, and each estimator's log evidence.

    Args:
        ladder: Draws from the power posteriors, if there were any.
        estimates: Estimates of one model, named by their estimators.
        data_dim: What the axis of data is called.

    Returns:
        `mean_log_lik`, `var_log_lik`, `mcse`, `ess`, `rhat` over (temperature, data) and
        `log_evidence`, `se`, `discretization_error` (0 without any), `unreliable` over (estimator,
        data).
    """
    variables: dict[str, Named] = {}
    coords: dict[str, Coordinate] = {}
    if ladder is not None:
        dims = ("temperature", data_dim)
        variables |= {name: (dims, values) for name, values in _curve(ladder).items()}
        coords |= _coords(ladder)
    if estimates:
        dims = ("estimator", data_dim)
        variables |= {
            "log_evidence": (dims, torch.stack([one.log_evidence for one in estimates])),
            "se": (dims, torch.stack([one.standard_error for one in estimates])),
            "discretization_error": (dims, torch.stack([_discretization(e) for e in estimates])),
            "unreliable": (dims, torch.stack([one.verdict.unreliable for one in estimates])),
        }
        coords["estimator"] = [one.estimator for one in estimates]
    return dataset(variables, coords=coords)


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
