"""Densities fitted to samples: known laws, the evidence that smooths them, what they refuse."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import gaussian_kde
from torch import Tensor
from torch.distributions import (
    Beta,
    Categorical,
    Distribution,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    Uniform,
)

from lvkam_pyro.distributions.maximum_likelihood import (
    LinearFamily,
    difference_penalty,
    maximize_likelihood,
)
from lvkam_pyro.distributions.panels import Panels
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.modules.density_estimation import fit_density
from tests.assertions import assert_within_standard_errors

TWO_HUMPS = MixtureSameFamily(
    Categorical(torch.tensor([0.3, 0.7])), Normal(torch.tensor([-3.0, 2.0]), torch.tensor([0.5, 1]))
)
LAWS: dict[str, tuple[Distribution, dict[str, Any]]] = {
    "normal": (Normal(1.0, 2.0), {}),
    "two humps": (TWO_HUMPS, {}),
    "skewed on an interval": (Beta(2.0, 5.0), {"domain": (0.0, 1.0)}),
    "uniform on an interval": (Uniform(-1.0, 3.0), {"domain": (-1, 3)}),
    "positive": (LogNormal(0.0, 0.5), {"reference": LogNormal(0.0, 1.0)}),
}
"""Name to the law of the samples, and what is known about it."""


@pytest.mark.parametrize("name", LAWS)
def test_known_laws_are_found(name: str) -> None:
    """A fit of `k` parameters to `N` samples costs `k / 2N` nats; four times that is allowed."""
    law, options = LAWS[name]
    fit = fit_density(law.sample((3000,)).double(), **options)
    fresh = law.sample((20_000,)).double()
    loss = law.log_prob(fresh) - fit.density.log_prob(fresh)
    cost = 4 * (fit.degrees_of_freedom + 1) / (2 * 3000)
    error = loss.std() / len(loss) ** 0.5
    assert loss.mean() < cost + 4 * error
    assert 0 <= fit.degrees_of_freedom < 15


def test_better_than_a_kernel_estimate_on_two_humps() -> None:
    train, test = (TWO_HUMPS.sample((n,)).double() for n in (500, 5000))
    ours = fit_density(train).density.log_prob(test)
    kernel = torch.from_numpy(gaussian_kde(train.numpy()).logpdf(test.numpy()))
    assert (ours - kernel).mean() > 0.02


def test_a_smooth_fit_is_the_normal_of_maximum_likelihood() -> None:
    samples = Beta(2.0, 5.0).sample((300,)).double()
    fit = fit_density(samples, smoothness=1e6)
    assert fit.smoothness == 1e6
    assert abs(fit.degrees_of_freedom - 2) < 0.05
    # Not exact: the splines end a margin beyond the samples, and the tails are not theirs.
    torch.testing.assert_close(fit.density.mean, samples.mean(), rtol=0, atol=2e-3)
    torch.testing.assert_close(fit.density.stddev, samples.std(), rtol=0.03, atol=0)


def test_log_likelihood_is_that_of_the_samples() -> None:
    samples, weights = torch.randn(200).double(), torch.rand(200).double()
    fit = fit_density(samples, weights=weights)
    expected = (weights * fit.density.log_prob(samples)).sum() / weights.sum()
    torch.testing.assert_close(fit.log_likelihood, expected)


def test_more_samples_allow_more_detail() -> None:
    freedom = [fit_density(TWO_HUMPS.sample((n,))).degrees_of_freedom for n in (30, 3000)]
    assert freedom[0] + 2 < freedom[1]


def test_a_batch_is_its_columns() -> None:
    """More columns than are fitted at once."""
    samples = Beta(torch.linspace(0.3, 4, 10), 1.0).sample((200,)).double()
    samples = samples.clamp(1e-3, 1).unflatten(1, (2, 5))
    together = fit_density(samples, domain=(0, 1))
    assert together.density.batch_shape == together.smoothness.shape == (2, 5)
    assert len(together.smoothness.unique()) > 1
    points = torch.linspace(0.01, 0.99, 50).double()
    log_prob = together.density.log_prob(points.view(-1, 1, 1))
    for column in ((0, 0), (1, 2), (1, 3)):
        alone = fit_density(samples[:, *column], domain=(0, 1))
        assert together.smoothness[column] == alone.smoothness
        freedom = together.degrees_of_freedom[column]
        torch.testing.assert_close(freedom, alone.degrees_of_freedom, rtol=1e-4, atol=0)
        expected = alone.density.log_prob(points)
        torch.testing.assert_close(log_prob[:, *column], expected, rtol=0, atol=1e-3)


def test_weights_choose_samples_and_have_no_unit() -> None:
    samples = torch.rand(300).double()
    weights = (torch.arange(300) < 200).double()
    chosen = fit_density(samples[:200], domain=(0, 1))
    weighted = fit_density(samples, domain=(0, 1), weights=7 * weights)
    assert chosen.smoothness == weighted.smoothness
    torch.testing.assert_close(chosen.log_likelihood, weighted.log_likelihood)
    torch.testing.assert_close(chosen.log_evidence, weighted.log_evidence)


def test_blocks_of_samples_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = torch.randn(100).double()
    whole = fit_density(samples).log_evidence
    monkeypatch.setattr("lvkam_pyro.modules.density_estimation._NUM_SAMPLES", 7)
    torch.testing.assert_close(fit_density(samples).log_evidence, whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtype_and_kinds_of_samples(dtype: torch.dtype) -> None:
    samples = torch.randn(50, dtype=dtype)
    fit = fit_density(samples)
    assert fit.density.sample((3,)).dtype == fit.log_evidence.dtype == dtype
    from_numpy = fit_density(samples.numpy())
    torch.testing.assert_close(fit.log_likelihood, from_numpy.log_likelihood)
    assert fit_density(np.arange(10)).density.mean.dtype == torch.float32


def test_values_at_the_ends_of_the_domain() -> None:
    samples = torch.linspace(0, 1, 21)
    fit = fit_density(samples, domain=(0, 1))
    assert fit.log_likelihood.isfinite()
    assert fit.density.log_prob(samples).isfinite().all()


def log_marginal(family: LinearFamily, mean: Tensor, count: int, smoothness: float) -> Tensor:
    """The marginal likelihood by importance sampling around its mode, and its standard error."""
    roughness = difference_penalty(mean.shape[-1], 3, like=mean)
    mode = maximize_likelihood(
        family, mean, torch.zeros_like(mean), penalty=smoothness * roughness / count
    ).coefficients
    precision = count * family.covariance(mode) + smoothness * roughness
    # Directions across the constants.
    across = torch.linalg.eigh(torch.ones_like(roughness)).eigenvectors[:, :-1]
    scale = torch.linalg.inv(across.T @ precision @ across)
    proposal = MultivariateNormal(torch.zeros(len(scale)).double(), 1.2 * scale)
    draws = proposal.sample((40_000,))
    c = mode + draws @ across.T
    log_joint = count * (c @ mean - family.log_normalizer(c))
    log_joint = log_joint - 0.5 * smoothness * (c @ roughness * c).sum(-1)
    log_joint = log_joint + 0.5 * (mean.shape[-1] - 3) * torch.tensor(smoothness).log()
    log_weights = log_joint - proposal.log_prob(draws)
    weights = log_weights.softmax(0)
    error = (weights.square().sum() - 1 / len(weights)).sqrt()
    return torch.stack([log_weights.logsumexp(0) - np.log(len(weights)), error])


def test_evidence_is_the_marginal_likelihood() -> None:
    """Differences between smoothnesses, against importance sampling."""
    samples = Beta(2.0, 3.0).sample((1000,)).double()
    basis = BSplineBasis(grid_size=4).double()
    panels = Panels(basis.breakpoints, Uniform(0.0, 1.0))
    family = LinearFamily(basis(panels.nodes.flatten()), panels.log_weights.flatten())
    pairs = [
        (
            fit_density(samples, domain=(0, 1), grid_size=4, smoothness=smoothness).log_evidence,
            log_marginal(family, basis(samples).mean(0), 1000, smoothness),
        )
        for smoothness in (1.0, 30.0)
    ]
    ours, exact = zip(*pairs, strict=True)
    error = exact[0][1] + exact[1][1]
    # Laplace's approximation is off by the order of parameters over samples.
    assert_within_standard_errors(
        ours[1] - ours[0], exact[1][0] - exact[0][0], error, extra=4 * 7 / 1000
    )


SAMPLES = torch.linspace(0.1, 0.9, 30)
WRONG: dict[str, tuple[Tensor, dict[str, Any], str]] = {
    "few": (SAMPLES[:4], {}, r"at least 5 samples.*got shape \(4,\)"),
    "a number": (torch.tensor(1.0), {}, r"got shape \(\)"),
    "no columns": (torch.zeros(7, 0), {}, r"got shape \(7, 0\)"),
    "not finite": (SAMPLES / (SAMPLES[3] != SAMPLES), {}, "1 of 30 that are NaN or infinite"),
    "constant": (torch.ones(9), {}, "1 of 1 columns that are constant, the first at 1"),
    "one constant column": (
        torch.stack([SAMPLES, 3 + 0 * SAMPLES], 1),
        {},
        "1 of 2 columns that are constant, the first at 3",
    ),
    "outside": (SAMPLES, {"domain": (0.5, 1.0)}, r"inside the domain \[0.5, 1\].*from 0.1 to 0.9"),
    "outside the reference": (-SAMPLES, {"reference": LogNormal(0.0, 1.0)}, r"domain \[0, inf\]"),
    "no width": (SAMPLES, {"domain": (1.0, 1.0)}, r"inside the domain \[1, 1\]"),
    "domain inside the reference": (
        SAMPLES,
        {"domain": (0.0, 1.0), "reference": Uniform(-1.0, 1.0)},
        "reach the finite ends",
    ),
    "smoothness": (SAMPLES, {"smoothness": 0.0}, "smoothness above 0, in nats, got 0"),
    "grid": (SAMPLES, {"grid_size": 0}, "grid_size of at least one"),
    "number of weights": (SAMPLES, {"weights": torch.ones(29)}, r"30 finite weights.*\(29,\)"),
    "negative weights": (SAMPLES, {"weights": -torch.ones(30)}, "not negative"),
    "no weight": (SAMPLES, {"weights": torch.zeros(30)}, "at least positive"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input(case: str) -> None:
    samples, options, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        fit_density(samples, **options)
