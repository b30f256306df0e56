"""The functions that matter stand out, and say what they are."""

import numpy as np
import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.modules.generators import KANGenerator
from lvkam_pyro.modules.priors import MixturePrior

PRIOR = MixturePrior(num_latents=3)


def test_functions_of_the_largest_range_stand_out() -> None:
    layer = KANLayer(1, 6)
    with torch.no_grad():
        layer.coefficients[..., 4] *= 50
    (axes,) = lv.plots.functions(layer, num_highlighted=1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["4"]


def test_functions_leave_the_random_state() -> None:
    generator = KANGenerator(3, 9)
    before = torch.get_rng_state()
    lv.plots.functions(generator, prior=PRIOR)
    assert torch.equal(before, torch.get_rng_state())


def test_legend_of_functions_names_the_form() -> None:
    layer = SymbolicLayer(KANLayer(1, 3))
    layer.set_formula(0, 1, Formula(FORMS["sin"], a=3.0, c=100.0))
    (axes,) = lv.plots.functions(layer, num_highlighted=1)
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["1: sin"]


def test_grid_writes_formulas_above_and_draws_the_spline_behind() -> None:
    layer = SymbolicLayer(KANLayer(2, 2))
    splines = layer.unsummed(torch.linspace(0, 1, 200)[:, None].expand(-1, 2)).detach()
    layer.set_formula(1, 0, Formula(FORMS["sin"], a=3.0))
    axes = lv.plots.function_grid(layer)
    assert axes[1, 0].get_title() == r"$\sin{\left(3 z_{1} \right)}$"
    assert not axes[0, 0].get_title()
    behind, formula = axes[1, 0].get_lines()
    assert behind.get_ydata() == pytest.approx(splines[:, 1, 0].numpy(), abs=1e-6)
    z = np.asarray(formula.get_xdata())
    assert formula.get_ydata() == pytest.approx(np.sin(3 * z), abs=1e-6)
