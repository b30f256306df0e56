"""Dreams: pairs of latents and data drawn from the model, on which a guide may learn."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.densities import sum_log_probs
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Unconditioned
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.tracing.sites import is_weighted
from lvkam_pyro.tracing.structure import Unit


@dataclass(frozen=True)
class Dreams:
    r"""Draws :math:`(z, x) \sim p(z) \, p(x \mid z)` of a model, and a guide's density of them.

    Attributes:
        observed: The name of the site whose observation is the data themselves.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> x = torch.rand(10, 5)
        >>> program = lv.bind(model, x)
        >>> Dreams.of(program).log_guide(program, lv.AmortizedGuide(model, x)).shape
        torch.Size([10])
    """

    observed: str

    @classmethod
    def of(cls, program: BoundProgram) -> Self | None:
        """How to dream of data like the program's.

        Returns:
            The dreams; None where draws would have another posterior than the data: where the
            program observes more or less than the whole of its one argument, or a mask weighs a
            site.
        """
        structure, data = program.structure, program.arguments.tensors
        with torch.no_grad(), seeded_rng(0, program.like):
            run = program.record_alone()
        name, site = next(iter(run.observations.items()))
        is_one = len(run.observations) == structure.num_plates == len(data) == 1
        if not is_one or site["value"] is not data[0] or structure.unit is Unit.DATA_SET:
            return None
        sites = run.sites.values()
        is_plain = not any(is_weighted(site, structure.data_scale(site)) for site in sites)
        return cls(name) if is_plain else None

    def log_guide(self, program: BoundProgram, guide: Program) -> Tensor:
        """The guide's log density of as many dreams as the program has data, of shape `(N,)`."""
        with torch.no_grad(), Unconditioned():
            dream = program.record_alone()
        values = {site.name: dream.sites[site.name]["value"] for site in program.structure.latents}
        dreamed = program.on_data(dream.sites[self.observed]["value"])
        proposal = dreamed.record_guide_alone(guide, values)
        return sum_log_probs(proposal.sites, program.structure, (1, program.num_units))[0]
