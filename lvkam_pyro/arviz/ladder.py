"""ArviZ's groups of a ladder of power posteriors."""

import torch
import xarray as xr
from torch import Tensor

from lvkam_pyro.arviz.assembly import PosteriorDraws, groups_without_model
from lvkam_pyro.arviz.estimates import estimates_of
from lvkam_pyro.arviz.layout import PlainLayout
from lvkam_pyro.arviz.model import ladder_latents, model_groups
from lvkam_pyro.arviz.resampled import POWER_POSTERIOR
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.structure import Model


def ladder_groups(
    ladder: LadderSamples,
    x: Tensor | None = None,
    *,
    model: Model | None = None,
    evidence: Evidence | EvidenceComparison | None = None,
    seed: int = 0,
) -> dict[str, xr.Dataset]:
    """The chains at temperature 1 as posterior, and the whole ladder.

    Args:
        ladder: The draws.
        x: The data, with the model.
        model: The model, for predictions and for the names of its plates; None: the axes are
            called `data` and `latent`, and there are no predictions.
        evidence: Estimates of the log evidence of the same data.
        seed: Of the predictions.

    Returns:
        The groups that `to_arviz` lists.

    Raises:
        ValueError: If there is a model without data or the other way round, or what belongs to
            other data.
    """
    check_together(model, x)
    if model is not None and x is not None:
        return model_groups(model, x, ladder=ladder, evidence=evidence, seed=seed)
    draws = PosteriorDraws(ladder_latents(ladder), (), ladder, estimates_of(evidence))
    layout = PlainLayout.of(draws.latents[0])
    likelihood = list(ladder.log_likelihood[:, :, -1].transpose(0, 1))
    with torch.no_grad(), seeded_rng(seed, ladder.log_likelihood):
        groups = groups_without_model(draws, [], likelihood, layout)
    groups["posterior"].attrs["sampler"] = POWER_POSTERIOR
    return groups


def check_together(model: Model | None, x: Tensor | None) -> None:
    """Model and data come together or not at all.

    Raises:
        ValueError: If one is missing.

    Example:
        >>> check_together(None, None)
    """
    if (model is None) != (x is None):
        raise ValueError(
            f"Expected a model with its data, or neither, but there is no "
            f"{'model' if model is None else 'data'}. Call to_arviz(source, x, model=model)."
        )
