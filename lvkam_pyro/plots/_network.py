"""A network as a diagram: nodes, and on every edge the function that it stands for."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor
from torch.quasirandom import SobolEngine

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, check_samples, layer_inputs, layers_of
from lvkam_pyro.kan.pruning import edge_importance
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.plots._arrays import Values, as_array, check_network, function_values
from lvkam_pyro.plots.style import DATA, FORMULA, MODEL, panels, styled

MAX_CURVES = 64
"""The most functions of a layer that are drawn as curves; of more, only the edges are drawn."""

MAX_EDGES = 200
MAX_NAMES = 32
NUM_SAMPLES = 512
NUM_POINTS = 60

_INCHES = 0.55
_MIN_COLUMNS, _MAX_COLUMNS = 3, 20
_BOX = 0.76
_GAP = 1.1


@styled
def network(
    kan: KAN | KANLayer,
    *,
    samples: Tensor | None = None,
    input_names: Sequence[str] | None = None,
    output_names: Sequence[str] | None = None,
    axes: object = None,
) -> Axes:
    """The diagram of a network, inputs at the bottom: every edge has its function drawn on it.

    The darker and wider an edge, the more its function matters, see `edge_importance`; each curve
    fills its box, whatever its range. Functions that are masked are left out, and formulas have a
    colour and their form's name. Of a layer of more than 64 functions the edges alone are drawn,
    and of these the 200 that matter most: a note says how many that leaves out.

    Args:
        kan: A network or a layer.
        samples: Inputs of the network, of shape `(..., I)`: curves are drawn over their range,
            and weighed by them. None: points spread evenly over the domain of the first layer.
        input_names: The names of the inputs, by default `z0, z1, ...`.
        output_names: The names of the outputs, by default `x0, x1, ...`.
        axes: Where to draw; None: a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `kan` is neither a network nor a layer.
        ValueError: If the samples do not fit, or names are not as many as what they name.

    Example:
        >>> import lvkam_pyro as lv
        >>> axes = lv.plots.network(lv.KAN([2, 3, 1]), input_names=["length", "width"])
        >>> [text.get_text() for text in axes.texts]
        ['length', 'width', 'x0']
    """
    check_network(kan)
    rows = _spread(kan) if samples is None else check_samples(kan, samples)
    parts = zip(layer_inputs(kan, rows), edge_importance(kan, rows), strict=True)
    drawings = [_Drawing.of(layer, inputs, scores) for (layer, inputs), scores in parts]
    below = _names(drawings[0].shape[0], input_names, "inputs", "z")
    above = _names(drawings[-1].shape[1], output_names, "outputs", "x")
    width = max(_MIN_COLUMNS, *(drawing.columns for drawing in drawings))
    height = sum(drawing.height for drawing in drawings)
    (one,) = panels(1, axes, size=(_INCHES * (width + 1), _INCHES * (height + 2)))
    bottom = 0.0
    for drawing in drawings:
        drawing.draw(one, width, bottom)
        bottom += drawing.height
    _draw_names(one, below, width, -0.25, "top")
    _draw_names(one, above, width, height + 0.25, "bottom")
    _explain_colours(one, any(any(drawing.labels) for drawing in drawings))
    one.set_axis_off()
    one.set(xlim=(-0.5, width + 0.5), ylim=(-1, height + 1))
    return one


@dataclass(frozen=True)
class _Drawing:
    """The drawing of a layer, in units of a box with its margin.

    Args:
        shape: How many inputs and outputs it has.
        edges: Input and output of every function to draw, the most important first: `(E, 2)`.
        strength: The importance of each, 1 for the largest: `(E,)`.
        curves: Each function over the range of its input, from -1 to 1, `(E, M)`; None: no curves.
        labels: The name of each formula's form, empty for splines.
        num_hidden: How many functions are left out.
    """

    shape: tuple[int, int]
    edges: NDArray[np.intp]
    strength: Values
    curves: Values | None
    labels: list[str]
    num_hidden: int

    @classmethod
    def of(cls, layer: KANLayer, inputs: Tensor, scores: Tensor) -> "_Drawing":
        formulas = layer.formulas if isinstance(layer, SymbolicLayer) else {}
        alive = layer.mask.bool().cpu().clone()
        for edge in formulas:
            alive[edge] = True
        order = scores.cpu().where(alive, -1.0).flatten().argsort(descending=True, stable=True)
        has_curves = alive.numel() <= MAX_CURVES
        count = int(alive.sum())
        order = order[: count if has_curves else min(count, MAX_EDGES)]
        edges = np.stack(np.divmod(order.numpy(), layer.out_features), 1)
        strength = scores.cpu().flatten()[order]
        return cls(
            shape=(layer.in_features, layer.out_features),
            edges=edges,
            strength=as_array(strength / strength.max() if strength.any() else strength),
            curves=_curves(layer, inputs)[edges[:, 0], edges[:, 1]] if has_curves else None,
            labels=[str(formulas[i, o].form) if (i, o) in formulas else "" for i, o in edges],
            num_hidden=count - len(order),
        )

    @property
    def rows(self) -> int:
        """Rows of boxes, as many as keep the columns few enough to read."""
        return ceil(self.shape[0] * self.shape[1] / _MAX_COLUMNS)

    @property
    def columns(self) -> int:
        """Boxes side by side; without boxes, as many as nodes."""
        if self.curves is None:
            return min(max(self.shape), 30)
        return max(self.shape[0] * ceil(self.shape[1] / self.rows), self.shape[1])

    @property
    def height(self) -> float:
        """The distance of the layer's outputs from its inputs."""
        return 6.0 if self.curves is None else self.rows + 2 * _GAP

    def draw(self, axes: Axes, width: float, bottom: float) -> None:
        """Draws the layer between its inputs at the height `bottom` and its outputs."""
        inputs, outputs = (_spaced(count, width) for count in self.shape)
        top = bottom + self.height
        # The most important last, on top of the others.
        for index in reversed(range(len(self.edges))):
            i, o = self.edges[index]
            ends = [(inputs[i], bottom), (outputs[o], top)]
            if self.curves is not None:
                centre = self._centre(i, o, width, bottom)
                ends[1:1] = [(centre[0], centre[1] - _BOX / 2), (centre[0], centre[1] + _BOX / 2)]
                self._draw_box(axes, index, centre)
            _draw_edge(axes, ends, self.strength[index], self._colour(index))
        for nodes, y in ((inputs, bottom), (outputs, top)):
            axes.plot(nodes, np.full(len(nodes), y), "o", color=DATA, markersize=4, zorder=4)
        if self.num_hidden:
            note = f"{self.num_hidden} of {self.num_hidden + len(self.edges)} functions not shown"
            axes.text(width / 2, top - 0.3, note, ha="center", va="top", **_NOTE)

    def _centre(self, i: int, o: int, width: float, bottom: float) -> tuple[float, float]:
        columns = ceil(self.shape[1] / self.rows)
        column, row = divmod(o, self.rows)
        x = (i * columns + column + 0.5) * width / (self.shape[0] * columns)
        return x, bottom + _GAP + row + 0.5

    def _colour(self, index: int) -> str:
        return FORMULA if self.labels[index] else MODEL

    def _draw_box(self, axes: Axes, index: int, centre: tuple[float, float]) -> None:
        assert self.curves is not None
        (x, y), half, colour = centre, _BOX / 2, self._colour(index)
        alpha = _opacity(self.strength[index])
        edge = (*to_rgb(DATA), alpha)
        frame = Rectangle((x - half, y - half), _BOX, _BOX, fc="white", ec=edge, lw=0.5, zorder=2)
        axes.add_patch(frame)
        curve = y + 0.8 * half * self.curves[index]
        along = np.linspace(x - 0.85 * half, x + 0.85 * half, len(curve))
        axes.plot(along, curve, color=colour, alpha=max(alpha, 0.4), linewidth=1.2, zorder=3)
        if self.labels[index]:
            axes.text(x, y + half, self.labels[index], color=colour, va="bottom", **_LABEL)


_PAPER = {"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.5}
_LABEL: dict[str, Any] = {"fontsize": 6, "ha": "center", "bbox": _PAPER, "zorder": 3}
_NOTE: dict[str, Any] = {"fontsize": 8, "color": DATA, "bbox": _PAPER, "zorder": 5}


def _spaced(count: int, width: float) -> Values:
    """The positions of `count` nodes, evenly spaced."""
    return (np.arange(count) + 0.5) * width / count


def _opacity(strength: float) -> float:
    return 0.12 + 0.78 * strength


def _draw_edge(
    axes: Axes, ends: Sequence[tuple[float, float]], strength: float, colour: str
) -> None:
    """The parts of an edge outside its box: pairs of points."""
    look: dict[str, Any] = {"color": colour, "alpha": _opacity(strength)}
    for first, second in zip(ends[::2], ends[1::2], strict=True):
        width = 0.4 + 1.2 * strength
        axes.plot(*zip(first, second, strict=True), zorder=1, linewidth=width, **look)


def _curves(layer: KANLayer, inputs: Tensor) -> Values:
    """All functions over the range of their inputs, each scaled to [-1, 1]: `(I, O, M)`."""
    low, high = inputs.amin(0), inputs.amax(0)
    steps = torch.linspace(0, 1, NUM_POINTS).to(low)[:, None]
    values = function_values(layer, low + (high - low) * steps).transpose(1, 2, 0)
    ends = values.min(-1, keepdims=True), values.max(-1, keepdims=True)
    half = (ends[1] - ends[0]) / 2
    middle = (ends[1] + ends[0]) / 2
    # A constant is a line in the middle, not its rounding blown up.
    is_constant = half <= 1e-6 * np.abs(middle)
    return np.where(is_constant, 0.0, (values - middle) / np.where(is_constant, 1.0, half))


def _spread(kan: KAN | KANLayer) -> Tensor:
    """Points evenly over the domain of the first layer, the same in every call."""
    first = layers_of(kan)[0]
    low, high = first.domain
    engine = SobolEngine(first.in_features, scramble=True, seed=0)
    return low + (high - low) * engine.draw(NUM_SAMPLES).to(first.coefficients)


def _names(count: int, names: Sequence[str] | None, kind: str, letter: str) -> Sequence[str]:
    """The names of inputs or outputs; of more than can be read, how many there are."""
    if names is None:
        few = count <= MAX_NAMES
        return [f"{letter}{k}" for k in range(count)] if few else [f"{count} {kind}"]
    if len(names) != count:
        raise ValueError(
            f"Expected the names of {count} {kind}, got {len(names)}: {', '.join(names)}."
        )
    return names


def _draw_names(axes: Axes, names: Sequence[str], width: float, y: float, side: str) -> None:
    # In units of a box a letter takes about 0.13: names that would touch stand upright.
    is_upright = 0.13 * max(map(len, names)) > 0.9 * width / len(names)
    style: dict[str, Any] = {"fontsize": 8, "ha": "center", "va": side}
    for x, name in zip(_spaced(len(names), width), names, strict=True):
        axes.text(x, y, name, rotation=90 * is_upright, **style)


def _explain_colours(axes: Axes, has_formulas: bool) -> None:
    if has_formulas:
        colours = {"spline": MODEL, "formula": FORMULA}
        handles = [Line2D([], [], color=colour, label=name) for name, colour in colours.items()]
        axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1), borderpad=0)
