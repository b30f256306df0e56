"""Every plot: labelled axes of its own or of the caller, nothing shown, nothing changed."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from lvkam_pyro import plots
from lvkam_pyro.checks.weights_check import check_weights
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.symbolic.forms import FORMS
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.layer_fit import fit_symbolic_layer
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.likelihoods.categorical import CategoricalLikelihood
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.plots.style import panels
from lvkam_pyro.statistics.uniformity import check_uniformity
from tests.plots import results

PRIOR = MixturePrior(num_latents=3)
METRICS = [{"epoch": e, "loss_per_datum": 9 / e} for e in range(1, 9)]
HELD_OUT = [row | {"held_out_loss_per_datum": row["loss_per_datum"] + 1} for row in METRICS]


@dataclass(frozen=True)
class Case:
    """A plot, the number of its axes, and the words that its labels must contain."""

    plot: Callable[..., Any]
    count: int
    xlabel: str
    ylabel: str


def draws(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def formulas(num_inputs: int, num_outputs: int) -> SymbolicLayer:
    """A layer with a spline left in it."""
    layer = SymbolicLayer(KANLayer(num_inputs, num_outputs))
    fit = fit_symbolic_layer(layer, forms=[FORMS["gaussian"], FORMS["0"]])
    layer.replace(fit, min_r_squared=0.0)
    layer.restore_spline(0, 1)
    return layer


def decode(num_outputs: int) -> LVKAM:
    return LVKAM(PRIOR, KANGenerator(3, num_outputs), NormalLikelihood(num_outputs))


def product_model() -> LVKAM:
    prior = ProductPrior(num_latents=2, num_components=2)
    basis = BSplineBasis(domain=prior.combined_domain)
    return LVKAM(prior, KANGenerator(2, 9, basis=basis), NormalLikelihood(9))


CASES = {
    "images": Case(
        lambda **kw: plots.samples(draws(40, 64), draws(40, 64), image_shape=(8, 8), **kw),
        2,
        "",
        "",
    ),
    "points": Case(
        lambda **kw: plots.samples(draws(50, 2), draws(70, 2), **kw), 2, "output 0", "output 1"
    ),
    "lines": Case(
        lambda **kw: plots.samples(draws(50, 9), draws(50, 9), **kw),
        2,
        "output",
        "units of the data",
    ),
    "histogram": Case(
        lambda **kw: plots.samples(draws(50, 1), draws(50, 1), **kw), 2, "output 0", "density"
    ),
    "mixture prior": Case(
        lambda **kw: plots.prior_densities(
            MixturePrior(num_latents=5, num_components=2), posterior=draws(4, 10, 5), **kw
        ),
        5,
        "z",
        "density",
    ),
    "unbounded prior": Case(
        lambda **kw: plots.prior_densities(
            MixturePrior(num_latents=2, reference=torch.distributions.Normal(0.5, 1.0)), **kw
        ),
        2,
        "z",
        "density",
    ),
    "product prior": Case(
        lambda **kw: plots.prior_densities(
            ProductPrior(num_latents=3, num_components=2), posterior=draws(9, 3, 2), **kw
        ),
        3,
        "z",
        "density",
    ),
    "functions": Case(
        lambda **kw: plots.functions(KANGenerator(6, 64), **kw), 6, "z", "added to output"
    ),
    "functions of a layer": Case(
        lambda **kw: plots.functions(KANLayer(2, 3), **kw), 2, "z", "added to output"
    ),
    "strips": Case(
        lambda **kw: plots.functions(KANGenerator(4, 64), image_shape=(8, 8), **kw),
        4,
        "",
        "latent",
    ),
    "functions under a prior": Case(
        lambda **kw: plots.functions(KANGenerator(3, 9), prior=PRIOR, **kw), 3, "z", "added"
    ),
    "strips under a prior": Case(
        lambda **kw: plots.functions(KANGenerator(3, 4), prior=PRIOR, image_shape=(2, 2), **kw),
        3,
        "",
        "latent",
    ),
    "function grid": Case(lambda **kw: plots.function_grid(KANLayer(2, 3), **kw), 6, "z1", "to x0"),
    "function grid of formulas": Case(
        lambda **kw: plots.function_grid(formulas(2, 2), samples=draws(50, 2), **kw),
        4,
        "z",
        "to x",
    ),
    "network": Case(lambda **kw: plots.network(KAN([2, 3, 1]), **kw), 1, "", ""),
    "network of formulas": Case(lambda **kw: plots.network(formulas(3, 3), **kw), 1, "", ""),
    "large network": Case(
        lambda **kw: plots.network(KANGenerator(4, 99), samples=draws(50, 4), **kw), 1, "", ""
    ),
    "thermodynamic curve": Case(
        lambda **kw: plots.thermodynamic_curve(results.climb_and_integrate(), **kw),
        2,
        "temperature t",
        "nats",
    ),
    "chains": Case(
        lambda **kw: plots.convergence(results.climb_path(), **kw), 3, "temperature t", "R-hat"
    ),
    "power posteriors": Case(
        lambda **kw: plots.power_posteriors(results.climb_path(), datum=1, **kw),
        2,
        "z",
        "temperature t",
    ),
    "importance weights": Case(
        lambda **kw: plots.importance_weights(check_weights(9 * draws(500, 20)), **kw),
        2,
        "datum",
        "Pareto k",
    ),
    "traversals of images": Case(
        lambda **kw: plots.traversals(decode(9), image_shape=(3, 3), **kw), 1, "quantile", ""
    ),
    "traversals of lines": Case(
        lambda **kw: plots.traversals(decode(9), **kw),
        3,
        "output",
        "datum",
    ),
    "traversals of curves": Case(
        lambda **kw: plots.traversals(decode(2), latents=[2, 0], **kw), 2, "z", "expected datum"
    ),
    "traversals of a product": Case(
        lambda **kw: plots.traversals(product_model(), **kw), 4, "output", "expected datum"
    ),
    "distribution functions": Case(
        lambda **kw: plots.ecdf_difference(check_uniformity(draws(50, 9)), names="abcdefghi", **kw),
        1,
        "PIT value",
        "uniform",
    ),
    "loss": Case(lambda **kw: plots.loss(METRICS, **kw), 1, "epoch", "nats per datum"),
    "held-out loss": Case(lambda **kw: plots.loss(HELD_OUT, **kw), 1, "epoch", "nats per datum"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def as_list(axes: object) -> list[Axes]:
    return list(np.array(axes, dtype=object).reshape(-1))


def assert_panels_do_not_overlap(axes: list[Axes]) -> None:
    figure = axes[0].figure
    figure.canvas.draw()
    boxes = [one.get_tightbbox() for one in figure.axes]
    for first, second in combinations(boxes, 2):
        width = min(first.x1, second.x1) - max(first.x0, second.x0)
        height = min(first.y1, second.y1) - max(first.y0, second.y0)
        assert width <= 1 or height <= 1, "two panels overlap by more than a pixel"


@every_case
def test_plot_returns_labelled_axes_that_do_not_overlap(case: Case) -> None:
    axes = as_list(case.plot())
    assert len(axes) == case.count
    assert case.xlabel in axes[-1].get_xlabel()
    assert case.ylabel in axes[0].get_ylabel()
    assert all(one.has_data() for one in axes)
    assert_panels_do_not_overlap(axes)


@every_case
def test_plot_draws_on_the_axes_given(case: Case) -> None:
    given = as_list(Figure().subplots(1, case.count))
    returned = as_list(case.plot(axes=given if case.count > 1 else given[0]))
    assert returned == given
    assert all(one.has_data() for one in given)
    assert not pyplot.get_fignums(), "a figure was opened although axes were given"


@every_case
def test_plot_leaves_the_settings_and_shows_nothing(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyplot, "show", lambda: pytest.fail("the plot called show"))
    before = dict(mpl.rcParams)
    case.plot()
    assert dict(mpl.rcParams) == before


def climb_ladder_alone() -> LadderSamples:
    return replace(results.climb_path(), path={})


def words() -> LVKAM:
    return LVKAM(PRIOR, KANGenerator(3, 8), CategoricalLikelihood(4, 2))


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: plots.samples(draws(5, 2), draws(5, 3)), ValueError, "of the same outputs"),
    (lambda: plots.samples(draws(5), draws(5)), ValueError, "(5,)"),
    (
        lambda: plots.samples(draws(5, 9), draws(5, 9), image_shape=(2, 4)),
        ValueError,
        "9 pixels",
    ),
    (lambda: plots.samples(draws(0, 2), draws(5, 2)), ValueError, "nothing finite"),
    (lambda: plots.prior_densities(PRIOR, posterior=draws(5, 4)), ValueError, "(..., 3)"),
    (lambda: plots.prior_densities(PRIOR, axes=Figure().subplots(1, 2)), ValueError, "3 axes"),
    (lambda: plots.loss(METRICS, axes="here"), TypeError, "matplotlib axes"),  # type: ignore[arg-type]
    (lambda: plots.loss([]), ValueError, "Pass Fit.metrics"),
    (lambda: plots.loss([{"epoch": 1}]), ValueError, "'loss_per_datum'"),
    (lambda: plots.functions(torch.nn.Linear(1, 1)), TypeError, "got Linear"),  # type: ignore[arg-type]
    (lambda: plots.functions(KANLayer(1, 9), image_shape=(2, 4)), ValueError, "9 pixels"),
    (lambda: plots.function_grid(KANLayer(8, 9)), ValueError, "8 x 9"),
    (lambda: plots.function_grid(KAN([1, 1])), TypeError, "got KAN"),  # type: ignore[arg-type]
    (lambda: plots.network(torch.nn.Linear(1, 1)), TypeError, "got Linear"),  # type: ignore[arg-type]
    (lambda: plots.network(KAN([2, 1]), input_names=["u"]), ValueError, "2 inputs, got 1: u"),
    (lambda: plots.network(KAN([2, 3]), output_names="ab"), ValueError, "3 outputs, got 2"),
    (lambda: plots.network(KAN([2, 1]), samples=draws(5, 3)), ValueError, "(..., 2)"),
    (
        lambda: plots.thermodynamic_curve(results.sample_importance()),
        ValueError,
        "that of Importance",
    ),
    (lambda: panels(1, [None]), TypeError, "None"),
    (lambda: plots.power_posteriors(climb_ladder_alone()), ValueError, "keep_path=True"),
    (lambda: plots.power_posteriors(results.climb_path(), datum=9), IndexError, "9"),
    (lambda: plots.traversals(decode(9), image_shape=(2, 4)), ValueError, "9 pixels"),
    (lambda: plots.traversals(decode(9), latents=[3]), IndexError, "3"),
    (lambda: plots.traversals(words()), ValueError, "likelihood with a mean"),
    (
        lambda: plots.ecdf_difference(check_uniformity(draws(9, 2)), names="a"),
        ValueError,
        "2 names",
    ),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
