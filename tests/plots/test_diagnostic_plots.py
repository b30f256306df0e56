"""What the pictures of diagnoses show is what was computed."""

from collections.abc import Iterator
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.plots.traversals import can_traverse

PRIOR = lv.MixturePrior(3)
MODEL = lv.LVKAM(PRIOR, lv.KANGenerator(3, 9), lv.NormalLikelihood(9))


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Draws in memory and leaves no figure open."""
    with mpl.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


def expected_data(z: Tensor) -> np.ndarray:
    with torch.no_grad():
        return MODEL.likelihood(MODEL.generator(MODEL.prior.combine(z))).mean.numpy()


def test_traversal_moves_one_latent_along_its_quantiles() -> None:
    axes = lv.plots.plot_traversals(MODEL, latents=[1])
    levels = torch.linspace(0.02, 0.98, 9)
    with torch.no_grad():
        z = PRIOR.densities().icdf(torch.tensor(0.5)).repeat(9, 1)
        z[:, 1] = PRIOR.densities().icdf(levels[:, None])[:, 1]
    drawn = np.stack([line.get_ydata() for line in axes[0].get_lines()])
    assert np.allclose(drawn, expected_data(z), atol=1e-6)


def test_traversal_of_a_datum_starts_from_its_posterior() -> None:
    posterior = torch.rand(101, 3)
    axes = lv.plots.plot_traversals(MODEL, latents=[0], posterior=posterior)
    with torch.no_grad():
        z = posterior.median(0).values
        z[0] = PRIOR.densities().icdf(torch.tensor(0.5))[0]
    middle = axes[0].get_lines()[4].get_ydata()
    assert np.allclose(middle, expected_data(z), atol=1e-5)


def test_traversals_of_the_strongest_latents_come_first() -> None:
    generator = torch.nn.Linear(14, 9)
    with torch.no_grad():
        generator.weight.copy_(torch.linspace(0, 1, 14).expand(9, -1))
    model = lv.LVKAM(lv.MixturePrior(14), generator, lv.NormalLikelihood(9))
    titles = [one.get_title() for one in lv.plots.plot_traversals(model)]
    assert len(titles) == 12
    assert titles[0] == "latent 13"
    assert "latent 0" not in titles


@pytest.mark.parametrize(
    ("likelihood", "expected"),
    [(lv.NormalLikelihood(4), True), (lv.CategoricalLikelihood(2, 2), False)],
)
def test_only_a_likelihood_with_a_mean_is_traversed(
    likelihood: torch.nn.Module, expected: bool
) -> None:
    assert can_traverse(lv.LVKAM(PRIOR, lv.KANGenerator(3, 4), likelihood)) == expected


def test_ecdf_difference_is_named_by_the_least_uniform() -> None:
    values = torch.rand(100, 9)
    values[:, 4] = values[:, 4].square()
    found = lv.statistics.check_uniformity(values)
    axes = lv.plots.plot_ecdf_difference(found, names="abcdefghi")
    lines = {line.get_label(): line for line in axes.get_lines()}
    assert "e" in lines
    assert sum(name in lines for name in "abcdefghi") == 5
    drawn = lines["e"].get_ydata()[1:-1]
    assert np.allclose(drawn, (found.ecdf[4] - found.points).numpy())


def test_weights_beyond_the_limits_are_marked() -> None:
    log_weights = torch.cat([torch.randn(2000, 5), 12 * torch.randn(2000, 2)], 1)
    check = lv.checks.check_weights(log_weights)
    left, right = lv.plots.plot_importance_weights(check)
    for axes in (left, right):
        good, bad = axes.get_lines()[:2]
        assert good.get_xdata().tolist() == check.failed.logical_not().nonzero()[:, 0].tolist()
        assert bad.get_xdata().tolist() == check.failed.nonzero()[:, 0].tolist() == [5, 6]


def test_weight_that_cannot_be_fitted_is_drawn_at_the_top() -> None:
    left, _ = lv.plots.plot_importance_weights(lv.checks.check_weights(torch.randn(10, 4)))
    assert np.isfinite(left.get_lines()[1].get_ydata()).all()


@dataclass(frozen=True)
class Path:
    """Draws at two temperatures: wide, then narrow."""

    temperatures: Tensor
    path: dict[str, Tensor]


def test_ridges_do_not_fall_where_a_support_ends() -> None:
    flat, peaked = torch.rand(50, 40), 0.5 + 0.02 * torch.randn(50, 40)
    draws = torch.stack([flat, peaked], 2)[..., None]
    (axes,) = lv.plots.plot_power_posteriors(Path(torch.tensor([0.0, 1.0]), {"z": draws}))
    posterior, prior = (line.get_ydata() for line in axes.get_lines())
    assert prior.min() > 0.7 * prior.max()
    assert posterior[100] - 1 > 1.7
    assert posterior[0] - 1 < 0.01
