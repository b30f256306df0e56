"""LV-KAM chains: each output sees two neighbouring latents; evidence by transfer matrices."""

import math
from typing import cast

import torch
from torch import Tensor

from lvkam_pyro.kan.network import layers_of
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior
from lvkam_pyro.problems.problem import Answered
from lvkam_pyro.statistics.quadrature import composite_gauss_legendre

_NUM_DATA = 4
_NUM_PANELS = 96
_PRIOR_GAIN, _GENERATOR_GAIN = 8, 2
"""How much further than at initialisation the functions are from flat."""


def make_chain(num_latents: int, *, scale: float = 0.15, num_components: int = 3) -> LVKAM:
    r"""An LV-KAM with strongly bimodal priors, in double precision.

    .. math:: z_q \sim p_q, \qquad
              x_o \sim N(\Phi_o(z_o) + \Psi_o(z_{o+1}), \sigma^2), \quad o = 1, \dots, Q - 1

    Args:
        num_latents: Q.
        scale: The noise's standard deviation.
        num_components: Components of each prior.

    Returns:
        The model, random by torch's global generator.

    Example:
        >>> make_chain(3).generator.num_outputs
        2
    """
    prior = MixturePrior(num_latents, num_components=num_components)
    generator = KANGenerator(num_latents, num_latents - 1)
    (layer,) = layers_of(generator)
    mask = torch.zeros(num_latents, num_latents - 1)
    for output in range(num_latents - 1):
        mask[output, output] = mask[output + 1, output] = 1
    with torch.no_grad():
        for parameter in prior.functions.parameters():
            parameter.mul_(_PRIOR_GAIN)
        layer.coefficients.mul_(_GENERATOR_GAIN)
    layer.set_mask(mask)
    return LVKAM(prior, generator, NormalLikelihood(num_latents - 1, scale=scale)).double()


@torch.no_grad()
def draw_data(model: LVKAM, num_data: int) -> Tensor:
    """Draws data from a model, by torch's global generator.

    Example:
        >>> draw_data(make_chain(3), 5).shape
        torch.Size([5, 2])
    """
    z = model.prior().sample((num_data,))
    x: Tensor = model.likelihood(model.generator(z)).sample()
    return x


@torch.no_grad()
def chain_log_evidence(model: LVKAM, x: Tensor, *, num_panels: int = _NUM_PANELS) -> Tensor:
    r"""The exact log p(x_n) of a chain, in any dimension.

    .. math:: p(x) = \int p_1(z_1) \prod_{o=1}^{Q-1}
              N(x_o; \Phi_o(z_o) + \Psi_o(z_{o+1}), \sigma^2) \, p_{o+1}(z_{o+1}) \, dz

    a product of transfer matrices on Gauss-Legendre nodes.

    Args:
        model: A chain.
        x: Data, `(N, Q - 1)`.
        num_panels: Panels of four nodes each on every latent's domain.

    Returns:
        Log evidence, `(N,)`.

    Example:
        >>> model = make_chain(3)
        >>> chain_log_evidence(model, draw_data(model, 5)).shape
        torch.Size([5])
    """
    num_latents = model.prior.num_latents
    edges = torch.linspace(*model.prior.domain, num_panels + 1, dtype=torch.float64)
    nodes, weights = composite_gauss_legendre(edges.expand(num_latents, -1), 4)
    log_masses = model.prior.densities().log_prob(nodes.T).T + weights.log()
    (layer,) = layers_of(cast("KANGenerator", model.generator))
    functions = layer.unsummed(nodes.T)
    scale = cast("NormalLikelihood", model.likelihood).scale
    total = log_masses[0].expand(len(x), -1)
    for o in range(num_latents - 1):
        mean = functions[:, None, o, o] + functions[None, :, o + 1, o]
        deviation = (x[:, None, None, o] - mean) / scale[o]
        step = -deviation.square() / 2 - scale[o].log() - math.log(2 * math.pi) / 2
        total = (total[:, :, None] + step).logsumexp(1) + log_masses[o + 1]
    return total.logsumexp(-1)


def lvkam_chain(num_latents: int) -> Answered:
    """A chain with data drawn from it.

    Example:
        >>> lvkam_chain(3)[1].shape
        torch.Size([4, 2])
    """
    model = make_chain(num_latents)
    x = draw_data(model, _NUM_DATA)
    return model, x, chain_log_evidence(model, x)
