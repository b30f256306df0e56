"""Draws of a Pyro program from given uniform numbers, by inverse distribution functions."""

from typing import Any

import torch
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent, MultivariateNormal, TransformedDistribution
from torch.special import ndtri

from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.sites import is_discrete
from lvkam_pyro.tracing.structure import ProgramStructure, Unit


class InverseTransform(Messenger):
    r"""Lets the latent sites inside take the values of uniform numbers, one after the other.

    .. math:: z_i = F_i^{-1}(u_i \mid z_1, \dots, z_{i-1})

    Rosenblatt's transformation (1952, https://doi.org/10.1214/aoms/1177729394), inverted: the
    distribution of the draws is the program's own, and they are smooth in u. All data share the
    uniforms.

    Args:
        uniforms: `(S, D)` in float64, within (0, 1), one column for each coordinate of the sites.
        structure: The structure of the model whose sites these are.

    Raises:
        ValueError: When the program runs: if a site has no inverse distribution function.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> from lvkam_pyro.tracing.prior_guide import PriorGuide
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> program = bind(model, torch.zeros(2))
        >>> uniforms = torch.tensor([[0.5], [0.8]], dtype=torch.float64)
        >>> with InverseTransform(uniforms, program.structure):
        ...     particles = program.draw(PriorGuide(model), 2)
        >>> particles.latents["z"].squeeze()
        tensor([0.0000, 0.8416])
    """

    def __init__(self, uniforms: Tensor, structure: ProgramStructure) -> None:
        super().__init__()
        self.uniforms = uniforms
        self.structure = structure
        self.dtypes = {site.name: site.dtype for site in structure.latents}
        self._used = 0

    def _pyro_sample(self, msg: Site) -> None:
        if msg["done"] or msg["is_observed"] or site_is_subsample(msg) or is_discrete(msg):
            return  # Pyro draws the discrete ones, and their values are forgotten.
        shape = self._shared_shape(msg)
        columns = self.uniforms[:, self._used : self._used + shape.numel()]
        self._used += shape.numel()
        if columns.shape[1] < shape.numel():
            return  # A site that was not counted: whoever runs the program will say so.
        uniforms = columns.reshape(-1, *shape).expand(msg["fn"].shape())
        value = _inverse(msg["fn"], uniforms, msg["name"])
        msg["value"] = value.to(self.dtypes.get(msg["name"], value.dtype))
        msg["done"] = True

    def _shared_shape(self, msg: Site) -> torch.Size:
        """The shape of a site's value for one particle, with an axis of 1 for the data."""
        distribution = msg["fn"]
        shape = list(distribution.shape()[1:])
        shape[len(shape) + self.structure.data_dim - len(distribution.event_shape)] = 1
        return torch.Size(shape)


def _inverse(distribution: Any, uniforms: Tensor, name: str) -> Tensor:  # noqa: ANN401
    """The value of a distribution at uniform numbers of its value's shape."""
    if isinstance(distribution, Independent):
        return _inverse(distribution.base_dist, uniforms, name)
    if isinstance(distribution, MultivariateNormal):
        scale = distribution.scale_tril.to(uniforms)
        value: Tensor = distribution.loc + (scale @ ndtri(uniforms)[..., None])[..., 0]
        return value
    if isinstance(distribution, TransformedDistribution):
        value = _inverse(distribution.base_dist, uniforms, name)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    try:
        value = distribution.icdf(uniforms)
    except NotImplementedError:
        raise ValueError(
            f"The site '{name}' draws from {type(distribution).__name__}, which has no inverse "
            "distribution function. Use one with icdf, or Importance."
        ) from None
    return value


def count_uniforms(program: BoundProgram, guide: Program) -> int:
    """The number of uniform numbers that one draw of a guide's sites takes for a unit.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> from lvkam_pyro.tracing.prior_guide import PriorGuide
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        ...         pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)
        >>> count_uniforms(bind(model, torch.zeros(5)), PriorGuide(model))
        3
    """
    sites = program.record_guide_alone(guide).latents.values()
    shapes = [site["fn"].shape() for site in sites if not is_discrete(site)]
    num_alone = 1 if program.unit is Unit.DATA_SET else program.num_units
    return sum(shape.numel() // num_alone for shape in shapes)
