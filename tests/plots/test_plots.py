"""Every plot: labelled axes of its own or of the caller, nothing shown, nothing changed."""

import re
from collections.abc import Callable, Iterator
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

from lvkam_pyro.checks.weights_check import check_weights
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.symbolic.forms import FORMS
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.layer_fit import fit_symbolic_layer
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from lvkam_pyro.likelihoods.categorical import CategoricalLikelihood
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior, ProductPrior
from lvkam_pyro.plots.convergence import plot_convergence
from lvkam_pyro.plots.densities import plot_prior_densities
from lvkam_pyro.plots.function_grid import plot_function_grid
from lvkam_pyro.plots.functions import plot_functions
from lvkam_pyro.plots.loss import plot_loss
from lvkam_pyro.plots.network import plot_network
from lvkam_pyro.plots.power_posteriors import plot_power_posteriors
from lvkam_pyro.plots.samples import mosaic, plot_samples
from lvkam_pyro.plots.style import panels, quote
from lvkam_pyro.plots.thermodynamic import plot_thermodynamic_curve
from lvkam_pyro.plots.traversals import plot_traversals
from lvkam_pyro.plots.uniformity import plot_ecdf_difference
from lvkam_pyro.plots.weights import plot_importance_weights
from lvkam_pyro.statistics.uniformity import check_uniformity
from tests.checks import programs

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


def climb_ladder() -> Evidence:
    ladder = Ladder(num_temperatures=8, num_chains=4, num_warmup=10, num_samples=10)
    estimator = ThermodynamicIntegration(ladder)
    return estimator.estimate(programs.linear_gaussian, programs.draw_data(3))


def sample_importance() -> Evidence:
    return Importance(64).estimate(programs.linear_gaussian, programs.draw_data(3))


def draws(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def formulas(num_inputs: int, num_outputs: int) -> SymbolicLayer:
    """A layer with a spline left in it."""
    layer = SymbolicLayer(KANLayer(num_inputs, num_outputs))
    fit = fit_symbolic_layer(layer, forms=[FORMS["gaussian"], FORMS["0"]])
    layer.replace(fit, min_r_squared=0.0)
    layer.restore_spline(0, 1)
    return layer


def climb_path() -> LadderSamples:
    ladder = Ladder(
        num_temperatures=10, num_chains=4, num_warmup=10, num_samples=10, keep_path=True
    )
    return ladder.sample(programs.linear_gaussian, programs.draw_data(3))


def decode(num_outputs: int) -> LVKAM:
    return LVKAM(PRIOR, KANGenerator(3, num_outputs), NormalLikelihood(num_outputs))


def product_model() -> LVKAM:
    prior = ProductPrior(num_latents=2, num_components=2)
    basis = BSplineBasis(domain=prior.combined_domain)
    return LVKAM(prior, KANGenerator(2, 9, basis=basis), NormalLikelihood(9))


CASES = {
    "images": Case(
        lambda **kw: plot_samples(draws(40, 64), draws(40, 64), image_shape=(8, 8), **kw), 2, "", ""
    ),
    "points": Case(
        lambda **kw: plot_samples(draws(50, 2), draws(70, 2), **kw), 2, "output 1", "output 2"
    ),
    "lines": Case(
        lambda **kw: plot_samples(draws(50, 9), draws(50, 9), **kw),
        2,
        "output",
        "units of the data",
    ),
    "histogram": Case(
        lambda **kw: plot_samples(draws(50, 1), draws(50, 1), **kw), 2, "output 1", "density"
    ),
    "mixture prior": Case(
        lambda **kw: plot_prior_densities(
            MixturePrior(num_latents=5, num_components=2), posterior=draws(4, 10, 5), **kw
        ),
        5,
        "z",
        "density",
    ),
    "unbounded prior": Case(
        lambda **kw: plot_prior_densities(
            MixturePrior(num_latents=2, reference=torch.distributions.Normal(0.5, 1.0)), **kw
        ),
        2,
        "z",
        "density",
    ),
    "product prior": Case(
        lambda **kw: plot_prior_densities(
            ProductPrior(num_latents=3, num_components=2), posterior=draws(9, 3, 2), **kw
        ),
        3,
        "z",
        "density",
    ),
    "functions": Case(
        lambda **kw: plot_functions(KANGenerator(6, 64), **kw), 6, "z", "added to output"
    ),
    "functions of a layer": Case(
        lambda **kw: plot_functions(KANLayer(2, 3), **kw), 2, "z", "added to output"
    ),
    "strips": Case(
        lambda **kw: plot_functions(KANGenerator(4, 64), image_shape=(8, 8), **kw), 4, "", "latent"
    ),
    "functions under a prior": Case(
        lambda **kw: plot_functions(KANGenerator(3, 9), prior=PRIOR, **kw), 3, "z", "added"
    ),
    "strips under a prior": Case(
        lambda **kw: plot_functions(KANGenerator(3, 4), prior=PRIOR, image_shape=(2, 2), **kw),
        3,
        "",
        "latent",
    ),
    "function grid": Case(lambda **kw: plot_function_grid(KANLayer(2, 3), **kw), 6, "z1", "to x0"),
    "function grid of formulas": Case(
        lambda **kw: plot_function_grid(formulas(2, 2), samples=draws(50, 2), **kw), 4, "z", "to x"
    ),
    "network": Case(lambda **kw: plot_network(KAN([2, 3, 1]), **kw), 1, "", ""),
    "network of formulas": Case(lambda **kw: plot_network(formulas(3, 3), **kw), 1, "", ""),
    "large network": Case(
        lambda **kw: plot_network(KANGenerator(4, 99), samples=draws(50, 4), **kw), 1, "", ""
    ),
    "thermodynamic curve": Case(
        lambda **kw: plot_thermodynamic_curve(climb_ladder(), **kw), 2, "temperature t", "nats"
    ),
    "thermodynamic curve of a datum": Case(
        lambda **kw: plot_thermodynamic_curve(climb_ladder(), datum=1, **kw), 2, "temp", "nats"
    ),
    "chains": Case(lambda **kw: plot_convergence(climb_path(), **kw), 3, "temperature t", "R-hat"),
    "power posteriors": Case(
        lambda **kw: plot_power_posteriors(climb_path(), datum=1, **kw), 2, "z", "temperature t"
    ),
    "importance weights": Case(
        lambda **kw: plot_importance_weights(check_weights(9 * draws(500, 20)), **kw),
        2,
        "datum",
        "Pareto k",
    ),
    "traversals of images": Case(
        lambda **kw: plot_traversals(decode(9), image_shape=(3, 3), **kw), 1, "quantile", ""
    ),
    "traversals of lines": Case(
        lambda **kw: plot_traversals(decode(9), posterior=draws(5, 3), **kw), 3, "output", "datum"
    ),
    "traversals of curves": Case(
        lambda **kw: plot_traversals(decode(2), latents=[2, 0], **kw), 2, "z", "expected datum"
    ),
    "traversals of a product": Case(
        lambda **kw: plot_traversals(product_model(), **kw), 4, "output", "expected datum"
    ),
    "distribution functions": Case(
        lambda **kw: plot_ecdf_difference(check_uniformity(draws(50, 9)), names="abcdefghi", **kw),
        1,
        "place",
        "uniform",
    ),
    "loss": Case(lambda **kw: plot_loss(METRICS, **kw), 1, "epoch", "nats per datum"),
    "held-out loss": Case(lambda **kw: plot_loss(HELD_OUT, **kw), 1, "epoch", "nats per datum"),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    """Draws in memory and leaves no figure open."""
    with mpl.rc_context({"backend": "agg"}):
        yield
    pyplot.close("all")


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


def test_densities_are_those_of_the_prior() -> None:
    prior = MixturePrior(num_latents=2)
    (reference, curve) = plot_prior_densities(prior)[1].get_lines()
    z, density = (torch.as_tensor(values).float() for values in curve.get_data())
    expected = prior.densities().log_prob(z[:, None]).exp()[:, 1]
    torch.testing.assert_close(density, expected.detach())
    assert np.allclose(reference.get_ydata(), 1)


@pytest.mark.parametrize(("slope", "is_shared"), [(1.0, True), (20.0, False)])
def test_densities_of_very_different_heights_have_scales_of_their_own(
    slope: float, is_shared: bool
) -> None:
    prior = MixturePrior(num_latents=2)
    with torch.no_grad():
        prior.functions.coefficients.zero_()
        prior.functions.coefficients[1, :, 0] = torch.linspace(0, slope, 11)
    low, high = (axes.get_ylim()[1] for axes in plot_prior_densities(prior))
    assert bool(low == high) == is_shared


def test_functions_of_the_largest_range_stand_out() -> None:
    layer = KANLayer(1, 6)
    with torch.no_grad():
        layer.coefficients[..., 4] *= 50
    (axes,) = plot_functions(layer, num_highlighted=1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["4"]


def test_functions_leave_the_random_state() -> None:
    generator = KANGenerator(3, 9)
    before = torch.get_rng_state()
    plot_functions(generator, prior=PRIOR)
    assert torch.equal(before, torch.get_rng_state())


def test_loss_looks_past_a_steep_start() -> None:
    steep = [{"epoch": e, "loss_per_datum": 1e4 / e**4} for e in range(1, 101)]
    assert plot_loss(steep).get_ylim()[1] < 10
    assert plot_loss(METRICS).get_ylim()[1] > METRICS[0]["loss_per_datum"]


def test_thermodynamic_curve_is_that_of_the_evidence_which_it_quotes() -> None:
    evidence = climb_ladder()
    left, right = plot_thermodynamic_curve(evidence)
    temperatures, curve = left.get_lines()[0].get_data()
    assert np.allclose(temperatures, evidence.diagnostics["temperatures"])
    assert np.allclose(curve, evidence.diagnostics["mean_log_likelihood"].mean(1))
    assert quote(evidence.mean, evidence.mean_standard_error) in right.get_title()


def test_mosaic_separates_images_by_one_pixel() -> None:
    sheet = mosaic(np.ones((3, 2, 2)), num_columns=2)
    assert sheet.shape == (5, 5)
    assert np.isnan(sheet[2]).all()
    assert np.isnan(sheet[:, 2]).all()
    assert np.nansum(sheet) == 12


def climb_ladder_alone() -> LadderSamples:
    return replace(climb_path(), path={})


def words() -> LVKAM:
    return LVKAM(PRIOR, KANGenerator(3, 8), CategoricalLikelihood(4, 2))


BAD_INPUT: list[tuple[Callable[[], object], type[Exception], str]] = [
    (lambda: plot_samples(draws(5, 2), draws(5, 3)), ValueError, "of the same outputs"),
    (lambda: plot_samples(draws(5), draws(5)), ValueError, "(5,)"),
    (lambda: plot_samples(draws(5, 9), draws(5, 9), image_shape=(2, 4)), ValueError, "9 pixels"),
    (lambda: plot_samples(draws(0, 2), draws(5, 2)), ValueError, "nothing finite"),
    (lambda: plot_prior_densities(PRIOR, posterior=draws(5, 4)), ValueError, "(..., 3)"),
    (lambda: plot_prior_densities(PRIOR, axes=Figure().subplots(1, 2)), ValueError, "3 axes"),
    (lambda: plot_loss(METRICS, axes="here"), TypeError, "matplotlib axes"),  # type: ignore[arg-type]
    (lambda: plot_loss([]), ValueError, "Pass Fit.metrics"),
    (lambda: plot_loss([{"epoch": 1}]), ValueError, "'loss_per_datum'"),
    (lambda: plot_functions(torch.nn.Linear(1, 1)), TypeError, "got Linear"),  # type: ignore[arg-type]
    (lambda: plot_functions(KANLayer(1, 9), image_shape=(2, 4)), ValueError, "9 outputs"),
    (lambda: plot_function_grid(KANLayer(8, 9)), ValueError, "8 x 9"),
    (lambda: plot_function_grid(KAN([1, 1])), TypeError, "got KAN"),  # type: ignore[arg-type]
    (lambda: plot_network(torch.nn.Linear(1, 1)), TypeError, "got Linear"),  # type: ignore[arg-type]
    (lambda: plot_network(KAN([2, 1]), input_names=["u"]), ValueError, "2 inputs, got 1: u"),
    (lambda: plot_network(KAN([2, 3]), output_names="ab"), ValueError, "3 outputs, got 2"),
    (lambda: plot_network(KAN([2, 1]), samples=draws(5, 3)), ValueError, "(..., 2)"),
    (lambda: plot_thermodynamic_curve(climb_ladder(), datum=9), IndexError, "9"),
    (lambda: plot_thermodynamic_curve(sample_importance()), ValueError, "that of Importance"),
    (lambda: panels(1, [None]), TypeError, "None"),
    (lambda: plot_power_posteriors(climb_ladder_alone()), ValueError, "keep_path=True"),
    (lambda: plot_power_posteriors(climb_path(), datum=9), IndexError, "9"),
    (lambda: plot_traversals(decode(9), image_shape=(2, 4)), ValueError, "9 pixels"),
    (lambda: plot_traversals(decode(9), posterior=draws(5, 2)), ValueError, "(M, 3)"),
    (lambda: plot_traversals(decode(9), latents=[3]), IndexError, "3"),
    (lambda: plot_traversals(words()), ValueError, "likelihood with a mean"),
    (lambda: plot_ecdf_difference(check_uniformity(draws(9, 2)), names="a"), ValueError, "2 names"),
]


@pytest.mark.parametrize(("call", "error", "match"), BAD_INPUT)
def test_bad_input(call: Callable[[], object], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=re.escape(match)):
        call()
