"""Dreams: pairs of latents and data drawn from the model, on which a guide may learn."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.recorder import SiteRecorder, Unconditioned
from lvkam_pyro.tracing.structure import ModelStructure, is_weighted, record_once

Program = Callable[..., Any]


@dataclass(frozen=True)
class Dreams:
    r"""Draws :math:`(z, x) \sim p(z) \, p(x \mid z)` of a model, and a guide's density of them.

    Attributes:
        structure: The model's structure.
        observed: The name of the site whose observation is the data themselves.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(10, 5)
        >>> dreams = Dreams.of(model, x, ModelStructure.of(model, x))
        >>> dreams.log_guide(model, lv.AmortizedGuide(model, x), x).shape
        torch.Size([10])
    """

    structure: ModelStructure
    observed: str

    @classmethod
    def of(cls, model: Program, x: Tensor, structure: ModelStructure) -> Self | None:
        """How to dream of data like `x`.

        Returns:
            The dreams; None where draws would have another posterior than the data: where the model
            observes more or less than the whole of `x` itself, or a scale or a mask weighs a site.
        """
        run = record_once(model, x)
        name, site = next(iter(run.observations.items()))
        is_whole = site["value"] is x and len(run.observations) == structure.num_plates == 1
        plate = structure.plate_of(site)
        if is_whole and not any(is_weighted(each, plate) for each in run.sites.values()):
            return cls(structure, name)
        return None

    def log_guide(self, model: Program, guide: Program, x: Tensor) -> Tensor:
        """The guide's log density of as many dreams as `x` has rows, of shape `(N,)`."""
        with torch.no_grad(), Unconditioned(), SiteRecorder() as dream:
            model(x)
        values = {site.name: dream.sites[site.name]["value"] for site in self.structure.latents}
        with SiteRecorder(values) as proposal:
            guide(dream.sites[self.observed]["value"])
        return sum_log_probs(proposal.sites, self.structure, (1, len(x)))[0]
