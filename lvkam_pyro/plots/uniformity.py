"""Distribution functions of what should be uniform, less the diagonal, with their band."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from torch import Tensor

from lvkam_pyro.plots.samples import as_array
from lvkam_pyro.plots.style import MODEL, PALETTE, QUIET, panels, styled

_MAX_NAMED = 5
_NUM_BINS = 20


class HasBand(Protocol):
    """What a `Uniformity` says that a picture needs."""

    @property
    def points(self) -> Tensor:
        """Where the functions are known, `(K,)`."""

    @property
    def ecdf(self) -> Tensor:
        """The functions, `(*, K)`."""

    @property
    def lower(self) -> Tensor:
        """The band's lower end, `(K,)`."""

    @property
    def upper(self) -> Tensor:
        """The band's upper end, `(K,)`."""

    @property
    def p_value(self) -> Tensor:
        """Of each function, `(*)`."""

    @property
    def level(self) -> float:
        """Of the band."""


class HasRanks(Protocol):
    """What an `SBC` says that a picture needs."""

    @property
    def names(self) -> Sequence[str]:
        """Of the K quantities."""

    @property
    def ranks(self) -> Tensor:
        """From 0 to the number of draws, `(N, K)`."""

    @property
    def num_draws(self) -> int:
        """The number of draws."""

    @property
    def uniformity(self) -> HasBand:
        """Of each quantity's ranks."""


@styled
def plot_ecdf_difference(
    uniformity: HasBand,
    *,
    names: Sequence[str] = (),
    xlabel: str = "place among the draws (share below)",
    axes: object = None,
) -> Axes:
    """Each sample's distribution function less that of the uniform law.

    The grey band holds the whole function of a uniform sample with the chance of its level; the
    functions of the smallest p-values are named, the others thin. A function that leaves the band
    falling, then rising, belongs to a law too narrow; rising, then falling, to one too wide.

    Args:
        uniformity: What `check_uniformity(values)` found, or the `uniformity` of a check.
        names: Of the samples; none are named if there are none.
        xlabel: What the values are.
        axes: One axes; None: a new figure.

    Returns:
        The axes.

    Raises:
        ValueError: If there are names, but not one a sample.

    Example:
        >>> import torch
        >>> from lvkam_pyro.statistics.uniformity import check_uniformity
        >>> plot_ecdf_difference(check_uniformity(torch.rand(200, 3)), names="abc").get_ylabel()
        'ECDF − uniform'
    """
    functions = as_array(uniformity.ecdf)
    functions = functions.reshape(-1, functions.shape[-1])
    if names and len(names) != len(functions):
        raise ValueError(f"Expected {len(functions)} names, one a sample, got {len(names)}.")
    (one,) = panels(1, axes, num_columns=1, size=(4.2, 2.9))
    points = np.concatenate([[0.0], as_array(uniformity.points), [1.0]])
    _draw_band(one, uniformity, points)
    order = np.argsort(as_array(uniformity.p_value).reshape(-1))
    named = order[:_MAX_NAMED] if names else order[:0]
    for index in order[::-1]:
        rank = int(np.flatnonzero(named == index)[0]) if index in named else None
        style = _thin() if rank is None else _named(rank, names[index])
        one.plot(points, _difference(functions[index], points), **style)
    one.axhline(0, color="black", linewidth=0.6)
    one.set(xlim=(0, 1), xlabel=xlabel, ylabel="ECDF \N{MINUS SIGN} uniform")
    one.legend(loc="upper right", ncols=2)
    low, high = one.get_ylim()
    one.set_ylim(low, high + 0.3 * (high - low))
    return one


@styled
def plot_ranks(sbc: HasRanks, *, axes: object = None) -> NDArray[np.object_]:
    """Ranks of simulation-based calibration: distribution functions, and the worst histogram.

    Args:
        sbc: What `sbc` found.
        axes: Two axes; None: a new figure.

    Returns:
        The two axes.

    Raises:
        ValueError: If there are fewer than two axes.

    Example:
        >>> import lvkam_pyro as lv
        >>> problem = lv.problems.load_problem("linear_gaussian_1")
        >>> axes = plot_ranks(lv.checks.sbc(problem.model, problem.x, num_simulations=100))
        >>> axes[1].get_ylabel()
        'simulated data'
    """
    left, right = pair = panels(2, axes, num_columns=2, size=(3.7, 2.9))
    plot_ecdf_difference(
        sbc.uniformity,
        names=sbc.names,
        xlabel="rank of the truth (share of draws below)",
        axes=left,
    )
    left.set_title("all quantities")
    worst = int(as_array(sbc.uniformity.p_value).argmin())
    _draw_histogram(right, as_array(sbc.ranks[:, worst]), sbc.num_draws)
    right.set_title(f"ranks of {sbc.names[worst]}, the least uniform")
    return pair


def _draw_band(axes: Axes, uniformity: HasBand, points: NDArray[np.float64]) -> None:
    lower = _difference(as_array(uniformity.lower), points)
    upper = _difference(as_array(uniformity.upper), points)
    label = f"{uniformity.level:.0%} band"
    axes.fill_between(points, lower, upper, color=QUIET, alpha=0.35, linewidth=0, label=label)


def _difference(function: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """A function known between the ends, less the diagonal."""
    return np.concatenate([[0.0], function, [1.0]]) - points


def _thin() -> dict[str, object]:
    return {"color": QUIET, "linewidth": 0.7}


def _named(rank: int, name: str) -> dict[str, object]:
    return {"color": PALETTE[rank], "linewidth": 1.4, "label": name}


def _draw_histogram(axes: Axes, ranks: NDArray[np.float64], num_draws: int) -> None:
    """As many ranks in each bin, so that uniform ranks give even bars."""
    places = num_draws + 1
    num_bins = max(n for n in range(1, min(_NUM_BINS, places) + 1) if places % n == 0)
    axes.hist(ranks, np.linspace(-0.5, places - 0.5, num_bins + 1).tolist(), color=MODEL, alpha=0.7)
    expected = len(ranks) / num_bins
    spread = 2 * (expected * (1 - 1 / num_bins)) ** 0.5
    axes.axhspan(expected - spread, expected + spread, color=QUIET, alpha=0.35, linewidth=0)
    axes.axhline(expected, color="black", linewidth=0.6)
    axes.set(xlabel=f"rank (0 to {num_draws})", ylabel="simulated data", xlim=(-0.5, places - 0.5))
