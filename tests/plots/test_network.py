"""The diagram of a network shows what is there, and says what it leaves out."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.lines import Line2D

import lvkam_pyro as lv
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.plots.style import FORMULA, MODEL


def curves(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_zorder() == 3]


def edges(axes: Axes) -> list[Line2D]:
    return [line for line in axes.get_lines() if line.get_zorder() == 1]


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_every_function_is_a_curve_between_two_lines() -> None:
    axes = lv.plots.network(KAN([2, 3, 1]))
    assert len(curves(axes)) == len(axes.patches) == 2 * 3 + 3 * 1
    assert len(edges(axes)) == 2 * len(curves(axes))
    assert texts(axes) == ["z0", "z1", "x0"]


def test_curves_are_the_functions_over_the_samples() -> None:
    layer = KANLayer(1, 1, base_activation=torch.square)
    with torch.no_grad():
        layer.coefficients[:, :-1] = 0
        layer.coefficients[:, -1] = 3.0
    samples = torch.linspace(0.2, 0.8, 50)[:, None]
    (curve,) = curves(lv.plots.network(layer, samples=samples))
    exact = np.linspace(0.2, 0.8, len(curve.get_ydata())) ** 2
    drawn = np.asarray(curve.get_ydata())
    scaled = (drawn - drawn.min()) / np.ptp(drawn)
    assert scaled == pytest.approx((exact - exact.min()) / np.ptp(exact), abs=1e-5)


def test_masked_functions_are_left_out() -> None:
    layer = KANLayer(3, 2)
    layer.set_mask(torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]))
    assert len(curves(lv.plots.network(layer))) == 2
    layer.set_mask(torch.zeros(3, 2))
    assert not curves(lv.plots.network(layer))


def test_what_matters_more_is_darker_and_wider() -> None:
    layer = KANLayer(2, 1, base_activation=None)
    with torch.no_grad():
        layer.coefficients[:] = (
            torch.linspace(0, 1, 8)[:, None] * torch.tensor([1.0, 9.0])[:, None, None]
        )
    weak, strong = sorted(edges(lv.plots.network(layer))[::2], key=Line2D.get_linewidth)
    assert weak.get_alpha() < strong.get_alpha()
    assert max(weak.get_xdata()) < max(strong.get_xdata()), "the second input is the strong one"


def test_constant_function_is_a_flat_line() -> None:
    layer = KANLayer(1, 1, base_activation=None)
    with torch.no_grad():
        layer.coefficients[:] = 1.7
    (curve,) = curves(lv.plots.network(layer))
    assert np.ptp(curve.get_ydata()) == 0


def test_formulas_have_a_colour_and_a_name() -> None:
    layer = SymbolicLayer(KANLayer(2, 1))
    assert lv.plots.network(layer).get_legend() is None
    layer.set_formula(1, 0, Formula(FORMS["tanh"], a=2.0))
    axes = lv.plots.network(layer)
    assert "tanh" in texts(axes)
    assert {to_hex(curve.get_color()) for curve in curves(axes)} == {
        to_hex(MODEL),
        to_hex(FORMULA),
    }
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["spline", "formula"]


def test_large_layer_shows_the_most_important_edges_and_says_what_is_missing() -> None:
    layer = KANLayer(5, 80)
    axes = lv.plots.network(layer)
    assert not curves(axes)
    assert len(edges(axes)) == 200
    assert "200 of 400 functions not shown" in texts(axes)
    assert "80 outputs" in texts(axes)
    mask = torch.zeros(5, 80)
    mask[2, :7] = 1
    layer.set_mask(mask)
    few = lv.plots.network(layer)
    nodes = next(line for line in few.get_lines() if len(line.get_xdata()) == 5)
    assert [line.get_xdata()[0] for line in edges(few)] == [nodes.get_xdata()[2]] * 7
    assert not any("not shown" in text for text in texts(few))


def test_names_that_would_touch_stand_upright() -> None:
    names = ["a fairly long name"] * 6
    axes = lv.plots.network(KANLayer(6, 1), input_names=names, output_names=["x"])
    assert {text.get_rotation() for text in axes.texts[:6]} == {90.0}
    assert axes.texts[6].get_rotation() == 0


def test_diagram_leaves_the_random_state() -> None:
    network = KAN([2, 2])
    before = torch.get_rng_state()
    lv.plots.network(network)
    assert torch.equal(before, torch.get_rng_state())
