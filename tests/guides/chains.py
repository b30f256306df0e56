"""Chains: additive models each of whose outputs sees two neighbouring latents, with exact evidence.

Given the latents, output o is Phi_o(z_o) + Psi_o(z_{o+1}) + noise, so the sum over all latents is
a product of transfer matrices on quadrature nodes, exact in any dimension.
"""

import math

import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.guides.nodes import composite_nodes

NUM_PANELS = 96


def chain(num_latents: int, *, scale: float = 0.15, num_components: int = 3) -> lv.LVKAM:
    """An LV-KAM with strongly bimodal priors, in double precision."""
    prior = lv.MixturePrior(num_latents, num_components=num_components)
    generator = lv.KANGenerator(num_latents, num_latents - 1)
    mask = torch.zeros(num_latents, num_latents - 1)
    for output in range(num_latents - 1):
        mask[output, output] = mask[output + 1, output] = 1
    with torch.no_grad():
        prior.functions.coefficients.mul_(8)
        generator.layers[0].coefficients.mul_(2)
    generator.layers[0].set_mask(mask)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(num_latents - 1, scale=scale)).double()


def draw_data(model: lv.LVKAM, num_data: int) -> Tensor:
    with torch.no_grad():
        z = model.prior().sample((num_data,))
        return model.likelihood(model.generator(z)).sample()


def exact_log_evidence(model: lv.LVKAM, x: Tensor) -> Tensor:
    """The transfer matrices' product, `(N,)`."""
    num_latents = model.prior.num_latents
    edges = torch.linspace(*model.prior.domain, NUM_PANELS + 1, dtype=torch.float64)
    nodes, weights = composite_nodes(edges.expand(num_latents, -1))
    with torch.no_grad():
        log_masses = model.prior.densities().log_prob(nodes.T).T + weights.log()
        functions = model.generator.layers[0].unsummed(nodes.T)
        scale = model.likelihood.scale
    total = log_masses[0].expand(len(x), -1)
    for o in range(num_latents - 1):
        mean = functions[:, None, o, o] + functions[None, :, o + 1, o]
        deviation = (x[:, None, None, o] - mean) / scale[o]
        step = -deviation.square() / 2 - scale[o].log() - math.log(2 * math.pi) / 2
        total = (total[:, :, None] + step).logsumexp(1) + log_masses[o + 1]
    return total.logsumexp(-1)
