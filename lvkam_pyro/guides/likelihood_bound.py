"""The largest value that a model's likelihood can take, where its form tells."""

from typing import Any

import torch
from pyro.distributions import Unit
from torch import Tensor
from torch.distributions import MultivariateNormal, Normal

from lvkam_pyro.distributions.shapes import without_events
from lvkam_pyro.likelihoods.normal import FactoredNormal
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site

_NUM_CHECKS = 16
_TOLERANCE = 1e-6


def derive_bound(program: BoundProgram) -> Tensor:
    r"""An upper bound of log p(x_n | z) over all z.

    .. math:: \max_\mu \log N(x; \mu, \Sigma) = - \tfrac12 \log |2 \pi \Sigma|, \qquad
              \log P(x) \le 0 \ \text{of discrete } x

    summed over the observed sites, with their scales and masks.

    Args:
        program: The bound program.

    Returns:
        `(N,)` in float64.

    Raises:
        ValueError: If a site is neither, or its scale depends on the latents.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> from lvkam_pyro.tracing.bind import bind
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 0.1), obs=x)
        >>> derive_bound(bind(model, torch.zeros(2)))  # -log(0.1) - log(2 pi) / 2
        tensor([1.3836, 1.3836], dtype=torch.float64)
    """
    runs = program.runs_at_prior(_NUM_CHECKS)
    largest = [{n: _at_its_largest(site) for n, site in r.observations.items()} for r in runs]
    bounds = torch.cat([program.sum(sites, _NUM_CHECKS) for sites in largest]).double()
    spread = bounds.amax(0) - bounds.amin(0)
    if (spread > _TOLERANCE * (1 + bounds.abs().amax(0))).any():
        raise ValueError(
            "The likelihood's scale depends on the latents, so that its largest value is not "
            f"known: at {_NUM_CHECKS} prior draws it differs by up to {float(spread.max()):.3g} "
            "nats. Pass max_log_likelihood."
        )
    return bounds.amax(0)


def _at_its_largest(site: Site) -> Site:
    """A site whose log density is the largest that its own can be."""
    largest = _largest_log_prob(site)
    return {**site, "fn": Unit(largest), "value": largest.new_empty(*largest.shape, 0)}


def _largest_log_prob(site: Site) -> Tensor:
    likelihood: Any = site["fn"]
    base = without_events(likelihood)
    if isinstance(base, FactoredNormal | Normal | MultivariateNormal):
        peak: Tensor = likelihood.log_prob(likelihood.mean)
        return peak
    if likelihood.support.is_discrete:
        return site["value"].new_zeros(likelihood.batch_shape, dtype=torch.float64)
    raise ValueError(
        f"The largest value of the likelihood's site '{site['name']}' is not known: it is a "
        f"{type(base).__name__}, and only normal and discrete ones tell. Pass max_log_likelihood, "
        "a number that no log likelihood exceeds."
    )
