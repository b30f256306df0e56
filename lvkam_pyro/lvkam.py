"""The ready-made model, and the shortest example of how to write one's own."""

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from lvkam_pyro.likelihoods.factored import Likelihood
from lvkam_pyro.modules.generators import KANGenerator, MixtureOfExperts
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior

Generator = KANGenerator | MixtureOfExperts


class LVKAM(PyroModule):
    r"""The Latent Variable Kolmogorov-Arnold Model.

    .. math:: z_n \sim p(z), \qquad x_n \sim p\big(x \mid \Phi(u(z_n))\big), \qquad n = 1..N

    with a prior of one-dimensional energy densities, a generator :math:`\Phi` of univariate
    functions, and a likelihood around its output.

    Arguments:
        prior: A :class:`MixturePrior` or :class:`ProductPrior`.
        generator: A :class:`KANGenerator`, a :class:`MixtureOfExperts`, or any module from
            `(..., Q)` to `(..., O)`.
        likelihood: A module from the generator's output to a distribution over `x`.

    Raises:
        ValueError: If the generator's basis does not cover what the prior sends into it, or the
            numbers of latents or of outputs disagree.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = LVKAM(MixturePrior(16), KANGenerator(16, 64), lv.NormalLikelihood(64))
        >>> model(torch.zeros(100, 64)).shape
        torch.Size([100, 64])
    """

    def __init__(
        self,
        prior: MixturePrior | ProductPrior,
        generator: Generator | nn.Module,
        likelihood: Likelihood | nn.Module,
    ) -> None:
        super().__init__()
        if isinstance(generator, Generator):
            _check_fit(prior, generator)
            _check_outputs(generator, likelihood)
        self.prior = prior
        self.generator = generator
        self.likelihood = likelihood

    def features(self, x: Tensor) -> Tensor:
        """The input of a network that reads data `(N, O)`, as the likelihood has it."""
        features = getattr(self.likelihood, "features", None)
        return x if features is None else features(x)

    def forward(self, x: Tensor) -> Tensor:
        """Declare the model on data `x` of shape `(N, O)`; returns the observation."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior())
            loc = self.generator(self.prior.combine(z))
            return pyro.sample("x", self.likelihood(loc), obs=x)


def _check_fit(prior: MixturePrior | ProductPrior, generator: Generator) -> None:
    if generator.num_latents != prior.num_latents:
        raise ValueError(
            f"Expected a generator of the prior's {prior.num_latents} latents, got one of "
            f"{generator.num_latents}. Give both the same num_latents."
        )
    low, high = prior.combined_domain
    first, last = generator.domain
    if first > low or last < high:
        raise ValueError(
            f"Expected a generator whose basis covers the prior's [{low:g}, {high:g}], got the "
            f"domain [{first:g}, {last:g}], outside which its functions are not learned but "
            "extrapolated. Give its basis domain=prior.combined_domain."
        )


def _check_outputs(generator: Generator, likelihood: nn.Module) -> None:
    outputs = getattr(likelihood, "num_outputs", generator.num_outputs)
    if generator.num_outputs != outputs:
        raise ValueError(
            f"Expected a likelihood of the generator's {generator.num_outputs} outputs, got one of "
            f"{outputs}. Give both the same number, mostly that of the data's columns."
        )
