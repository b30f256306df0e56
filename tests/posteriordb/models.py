"""Nine real models of posteriordb with certified log evidence, written as Pyro's users write them.

Data and reference draws are posteriordb's (version 0.5; see LICENCE.md); all priors are proper and
normalised here, so that the values are not those of Stan's unnormalised targets. The evidence of
each comes from quadrature, everything normal summed out in closed form, at two resolutions that
agree to 1e-6; bridge sampling and importance sampling agree with it within their errors.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

FOLDER = Path(__file__).parent
Data = dict[str, Tensor]


@dataclass(frozen=True)
class Entry:
    """A model, its data and its certified log evidence.

    Attributes:
        model: The Pyro model.
        file: The name of its data.
        log_evidence: In nats, known to 1e-5.
    """

    model: Callable[[Data], object]
    file: str
    log_evidence: float

    def data(self) -> Data:
        """The data in torch's default dtype; whole numbers stay so."""
        with np.load(FOLDER / "data" / f"{self.file}.npz") as arrays:
            return {name: as_tensor(arrays[name]) for name in arrays.files}


def reference_draws(name: str) -> Data:
    """Draws from the posterior, site name to `(D, *shape)`."""
    with np.load(FOLDER / "draws" / f"{name}.npz") as arrays:
        return {site: as_tensor(arrays[site]) for site in arrays.files}


def as_tensor(array: np.ndarray) -> Tensor:
    """An array as a tensor of torch's default dtype, or of integers."""
    return torch.as_tensor(array).to(
        torch.get_default_dtype() if array.dtype.kind == "f" else torch.long
    )


def eight_schools(data: Data) -> None:
    """A hierarchy of few groups, not centred."""
    mu = pyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = pyro.sample("tau", dist.HalfCauchy(5.0))
    with pyro.plate("schools", len(data["y"])):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("y", dist.Normal(mu + tau * z, data["sigma"]), obs=data["y"])


def regression(data: Data) -> None:
    """Linear regression on independent columns."""
    x = data["X"]
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([x.shape[1]]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(10.0))
    with pyro.plate("data", len(x)):
        pyro.sample("y", dist.Normal((x * beta).sum(-1), sigma), obs=data["y"])


def autoregression(data: Data) -> None:
    """An autoregression of order 5, given the first five values."""
    y, order = data["y"], 5
    lags = torch.stack([y[order - j - 1 : len(y) - j - 1] for j in range(order)], -1)
    alpha = pyro.sample("alpha", dist.Normal(0.0, 10.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([order]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfCauchy(2.5))
    with pyro.plate("time", len(lags)):
        pyro.sample("y", dist.Normal(alpha + (lags * beta).sum(-1), sigma), obs=y[order:])


def gaussian_process(data: Data) -> None:
    """Gaussian process regression; sigma is the variance of the noise."""
    x = data["x"]
    rho = pyro.sample("rho", dist.Gamma(25.0, 4.0))[..., None, None]
    alpha = pyro.sample("alpha", dist.HalfNormal(2.0))[..., None, None]
    sigma = pyro.sample("sigma", dist.HalfNormal(1.0))[..., None, None]
    squares = ((x[:, None] - x) / rho).square()
    covariance = alpha.square() * (-squares / 2).exp() + sigma * torch.eye(len(x)).to(x)
    normal = dist.MultivariateNormal(torch.zeros_like(x), covariance_matrix=covariance)
    pyro.sample("y", normal, obs=data["y"])


def hidden_markov(data: Data) -> None:
    """A chain of two normal states, summed by hand."""
    y = data["y"]
    rows = [pyro.sample(f"theta{k}", dist.Dirichlet(torch.ones(2).to(y))) for k in (1, 2)]
    mu = pyro.sample("mu", dist.Normal(torch.tensor([3.0, 10.0]).to(y), 1.0).to_event(1))
    log_theta = torch.stack(rows, -2).log()
    emissions = dist.Normal(mu[..., None, :], 1.0).log_prob(y[:, None])
    state = emissions[..., 0, :] - math.log(2.0)
    for time in range(1, len(y)):
        moved = (state[..., :, None] + log_theta).logsumexp(-2)
        state = moved + emissions[..., time, :]
    pyro.factor("y", state.logsumexp(-1))


def normal_mixture(data: Data) -> None:
    """Two normal components with free labels, so that there are two equal modes far apart."""
    theta = pyro.sample("theta", dist.Beta(5.0, 5.0))
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0).expand([2]).to_event(1))
    sigma = pyro.sample("sigma", dist.HalfNormal(2.0).expand([2]).to_event(1))
    with pyro.plate("data", len(data["y"])):
        weights = dist.Categorical(probs=torch.stack([theta, 1 - theta], -1))
        pyro.sample("y", dist.MixtureSameFamily(weights, dist.Normal(mu, sigma)), obs=data["y"])


def surgical(data: Data) -> None:
    """Deaths in twelve hospitals: a centred hierarchy under vague priors."""
    mu = pyro.sample("mu", dist.Normal(0.0, 1000.0))
    sigmasq = pyro.sample("sigmasq", dist.InverseGamma(0.001, 0.001))
    with pyro.plate("hospitals", len(data["n"])):
        b = pyro.sample("b", dist.Normal(mu, sigmasq.sqrt()))
        pyro.sample("r", dist.Binomial(data["n"], logits=b), obs=data["r"])


def dogs(data: Data) -> None:
    """A logistic regression on a grid of dogs and trials, under vague priors."""
    y = data["y"].to(torch.get_default_dtype())
    shock = y.cumsum(1) - y
    avoid = (1 - y).cumsum(1) - (1 - y)
    beta = pyro.sample("beta", dist.Normal(0.0, 100.0).expand([3]).to_event(1))
    with pyro.plate("dogs", y.shape[0], dim=-2), pyro.plate("trials", y.shape[1], dim=-1):
        logits = beta[..., 0] + beta[..., 1] * avoid + beta[..., 2] * shock
        pyro.sample("y", dist.Bernoulli(logits=logits), obs=y)


def radon(data: Data) -> None:
    """Radon in houses of 85 counties: 90 latents."""
    mu_alpha = pyro.sample("mu_alpha", dist.Normal(0.0, 10.0))
    beta = pyro.sample("beta", dist.Normal(0.0, 10.0).expand([2]).to_event(1))
    sigma_alpha = pyro.sample("sigma_alpha", dist.HalfNormal(1.0))
    sigma_y = pyro.sample("sigma_y", dist.HalfNormal(1.0))
    with pyro.plate("counties", 85):
        raw = pyro.sample("alpha_raw", dist.Normal(0.0, 1.0))
    alpha = mu_alpha + sigma_alpha * raw
    with pyro.plate("houses", len(data["county"])):
        slopes = beta[..., 0] * data["uppm"] + beta[..., 1] * data["floor"]
        mean = alpha[..., data["county"]] + slopes
        pyro.sample("y", dist.Normal(mean, sigma_y), obs=data["y"])


ENTRIES = {
    "eight_schools_noncentered": Entry(eight_schools, "eight_schools", -31.311347),
    "sblri_blr": Entry(regression, "sblri", -184.773172),
    "arK_arK": Entry(autoregression, "arK", 58.587594),
    "gp_regr": Entry(gaussian_process, "gp", -27.555456),
    "hmm_example": Entry(hidden_markov, "hmm_example", -173.404177),
    "low_dim_gauss_mix": Entry(normal_mixture, "low_dim_gauss_mix", -2114.989958),
    "surgical": Entry(surgical, "surgical", -53.881976),
    "dogs": Entry(dogs, "dogs", -306.021073),
    "radon_hierarchical_intercept_noncentered": Entry(radon, "radon_mn", -1045.317457),
}
