"""A formula stands above its panel, and its spline behind it."""

import numpy as np
import pytest
import torch

import lvkam_pyro as lv
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.symbolic.forms import FORMS
from lvkam_pyro.kan.symbolic.formula import Formula
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer


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
