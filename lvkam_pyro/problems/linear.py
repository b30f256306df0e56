"""Linear models of normal, mixed or gamma latents: evidence in closed form."""

import math

import pyro
import pyro.distributions as dist
import torch
from sklearn.datasets import load_diabetes
from torch import Tensor

from lvkam_pyro.problems.problem import Answered

_NUM_DATA = 4
_NOISE = 0.5
_SHARES, _MEANS, _SCALES = (0.7, 0.3), (-1.0, 1.5), (0.3, 0.4)
_GROUP_SIZE = 20
_FEATURES = ("bmi", "bp", "s5")
_SHAPE, _RATE, _VARIANCE = 3.0, 2.0, 1.0


class LinearGaussian:
    r"""Factor analysis with as many outputs as latents.

    .. math:: z \sim N(0, I), \qquad x \sim N(W z, \sigma^2 I), \qquad
              p(x) = N(x; 0, W W' + \sigma^2 I)

    Args:
        weight: W, `(O, Q)` in float64.
        scale: The noise's standard deviation.

    Example:
        >>> model = LinearGaussian(torch.ones(1, 8).double(), scale=1.0)
        >>> model.log_evidence(torch.zeros(1, 1).double())  # log N(0; 0, 9)
        tensor([-2.0176], dtype=torch.float64)
    """

    def __init__(self, weight: Tensor, *, scale: float = _NOISE) -> None:
        self.weight = weight
        self.scale = scale

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, O)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.weight.shape[1]), 1.0).to_event(1))
            loc = z @ self.weight.to(x).T
            pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        covariance = self.weight @ self.weight.T
        covariance = covariance + self.scale**2 * torch.eye(len(covariance)).to(covariance)
        return normal_log_prob(x, x.new_zeros(x.shape[1]), covariance)


class MixedLinear:
    r"""A linear map of independent latents, each distributed as two normal components.

    .. math:: z_q \sim \sum_{p=1}^{2} w_p N(m_p, s_p^2), \qquad x \sim N(W z, \sigma^2 I), \qquad
              p(x) = \sum_{c \in \{1, 2\}^Q} \prod_q w_{c_q} \,
                     N\big(x; W m_c, W \mathrm{diag}(s_c^2) W' + \sigma^2 I\big)

    Args:
        weight: W, `(O, Q)` in float64.
        noise: The noise's standard deviation.
        scales: Those of the two components.

    Example:
        >>> MixedLinear(torch.eye(2).double()).log_evidence(torch.zeros(1, 2).double()).shape
        torch.Size([1])
    """

    def __init__(
        self, weight: Tensor, *, noise: float = _NOISE, scales: tuple[float, float] = _SCALES
    ) -> None:
        self.weight = weight
        self.noise = noise
        self.scales = scales

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, O)."""
        shares, means, scales = (
            x.new_tensor(values).expand(self.weight.shape[1], 2)
            for values in (_SHARES, _MEANS, self.scales)
        )
        prior = dist.MixtureSameFamily(dist.Categorical(shares), dist.Normal(means, scales))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", prior.to_event(1))
            loc = z @ self.weight.to(x).T
            pyro.sample("x", dist.Normal(loc, self.noise).to_event(1), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`, by all 2^Q combinations of components."""
        num_latents = self.weight.shape[1]
        choices = torch.cartesian_prod(*[torch.arange(2)] * num_latents).reshape(-1, num_latents)
        shares, means, scales = (
            self.weight.new_tensor(values)[choices] for values in (_SHARES, _MEANS, self.scales)
        )
        scaled = self.weight * scales[:, None]
        noise = self.noise**2 * torch.eye(len(self.weight)).to(self.weight)
        parts = normal_log_prob(x, means @ self.weight.T, scaled @ scaled.mT + noise)
        return (shares.log().sum(-1) + parts).logsumexp(-1)


class Bimodal:
    r"""The datum is the latent vector or its negative, with noise.

    .. math:: z \sim N(0, I), \qquad x \sim w \, N(z, \sigma^2 I) + (1 - w) \, N(-z, \sigma^2 I),
              \qquad p(x) = N(x; 0, (1 + \sigma^2) I)

    A chain or a guide that sees one mode only is wrong by log w or log (1 - w).

    Example:
        >>> Bimodal().log_evidence(torch.zeros(1, 1))  # log N(0; 0, 1.09)
        tensor([-0.9620])
    """

    num_latents, scale, share = 10, 0.3, 0.8

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N, 10)."""
        shares = x.new_tensor([self.share, 1 - self.share])
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            parts = dist.Normal(torch.stack([z, -z], -2), self.scale).to_event(1)
            pyro.sample("x", dist.MixtureSameFamily(dist.Categorical(shares), parts), obs=x)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(x_n), `(N,)`."""
        log_prob: Tensor = dist.Normal(0.0, (1 + self.scale**2) ** 0.5).log_prob(x).sum(-1)
        return log_prob


def normal_log_prob(x: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """The log density of a multivariate normal distribution.

    Args:
        x: Points, `(N, O)`.
        mean: Of shape `(*batch, O)`.
        covariance: Of shape `(*batch, O, O)`.

    Returns:
        Log densities, `(N, *batch)`.

    Example:
        >>> normal_log_prob(torch.zeros(2, 1), torch.zeros(3, 1), torch.ones(3, 1, 1)).shape
        torch.Size([2, 3])
    """
    normal = dist.MultivariateNormal(mean, covariance)
    log_prob: Tensor = normal.log_prob(x[(slice(None), *[None] * (mean.ndim - 1))])
    return log_prob


def linear_gaussian(num_latents: int) -> Answered:
    """Factor analysis of as many outputs as latents, with a random map.

    Example:
        >>> [part.shape for part in linear_gaussian(3)[1:]]
        [torch.Size([4, 3]), torch.Size([4])]
    """
    model = LinearGaussian(_random_map(num_latents))
    z = torch.randn(_NUM_DATA, num_latents, dtype=torch.float64)
    x = z @ model.weight.T + _NOISE * torch.randn_like(z)
    return model, x, model.log_evidence(x)


def mixture_prior(num_latents: int) -> Answered:
    """Latents with two peaks each behind a random map.

    Example:
        >>> mixture_prior(8)[1].shape
        torch.Size([4, 8])
    """
    model = MixedLinear(_random_map(num_latents))
    high = torch.rand(_NUM_DATA, num_latents) < _SHARES[1]
    low, peak = (
        mean + scale * torch.randn(_NUM_DATA, num_latents, dtype=torch.float64)
        for mean, scale in zip(_MEANS, _SCALES, strict=True)
    )
    x = torch.where(high, peak, low) @ model.weight.T
    x = x + _NOISE * torch.randn_like(x)
    return model, x, model.log_evidence(x)


def bimodal() -> Answered:
    """Two far modes of unequal mass.

    Example:
        >>> bimodal()[1].shape
        torch.Size([4, 10])
    """
    model = Bimodal()
    x = torch.randn(_NUM_DATA, model.num_latents, dtype=torch.float64)
    x = x * (1 + model.scale**2) ** 0.5
    return model, x, model.log_evidence(x)


def _random_map(num_latents: int) -> Tensor:
    return torch.randn(num_latents, num_latents, dtype=torch.float64) / num_latents**0.5


class ConjugateRegression:
    r"""A linear regression for each group, with coefficients and noise of its own.

    .. math:: \sigma_n^2 \sim \mathrm{InverseGamma}(a, b), \qquad
              \beta_n \sim N(0, \sigma_n^2 v I), \qquad y_n \sim N(X_n \beta_n, \sigma_n^2 I)

    so that :math:`y_n` is multivariate Student's t with 2a degrees of freedom and scale matrix
    :math:`(b / a)(I + v X_n X_n')` (Murphy 2012, Machine Learning, section 7.6.3). The response is
    the first column of a datum `(group size, 1 + features)`, the features are the others.

    Example:
        >>> ConjugateRegression().log_evidence(torch.zeros(1, 20, 4).double()).shape
        torch.Size([1])
    """

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the groups x (N, group size, 1 + features)."""
        response, features = x[..., 0], x[..., 1:]
        with pyro.plate("data", len(x)):
            prior = dist.InverseGamma(x.new_tensor(_SHAPE), x.new_tensor(_RATE))
            scale = pyro.sample("variance", prior).sqrt()[..., None]
            zeros = x.new_zeros(features.shape[-1])
            beta = pyro.sample("beta", dist.Normal(zeros, _VARIANCE**0.5 * scale).to_event(1))
            loc = (features @ beta[..., None])[..., 0]
            pyro.sample("y", dist.Normal(loc, scale).to_event(1), obs=response)

    def log_evidence(self, x: Tensor) -> Tensor:
        """The exact log p(y_n | X_n), `(N,)`."""
        response, features = x[..., 0], x[..., 1:]
        size = x.shape[1]
        kernel = torch.eye(size).to(x) + _VARIANCE * features @ features.mT
        root = torch.linalg.cholesky(kernel)
        white = torch.linalg.solve_triangular(root, response[..., None], upper=False)[..., 0]
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        last = _SHAPE + size / 2
        constant = math.lgamma(last) - math.lgamma(_SHAPE) - size / 2 * math.log(2 * math.pi)
        rate = _RATE + white.square().sum(-1) / 2
        return constant + _SHAPE * math.log(_RATE) - last * rate.log() - log_det


def conjugate_regression() -> Answered:
    """Four groups of twenty patients of scikit-learn's diabetes data.

    The disease's progression after a year by body mass index, blood pressure and a serum value,
    all standardised over all patients, and a constant.

    Example:
        >>> conjugate_regression()[1].shape
        torch.Size([4, 20, 5])
    """
    table = load_diabetes(as_frame=True, scaled=False).frame[["target", *_FEATURES]]
    values = torch.tensor(table.to_numpy(), dtype=torch.float64)
    values = (values - values.mean(0)) / values.std(0)
    values = torch.cat([values, torch.ones(len(values), 1).double()], -1)
    x = values[: _NUM_DATA * _GROUP_SIZE].unflatten(0, (_NUM_DATA, _GROUP_SIZE))
    model = ConjugateRegression()
    return model, x, model.log_evidence(x)
