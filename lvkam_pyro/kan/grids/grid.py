"""Grids that follow the inputs or grow finer, under functions that stay."""

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from lvkam_pyro.kan.bases.bspline import equal_cells
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis, splines_on
from lvkam_pyro.kan.bases.splines import SplineBasis
from lvkam_pyro.kan.grids.knots import adapt_breakpoints, check_ratio, subdivide
from lvkam_pyro.kan.grids.optimizers import check_trains, exchange, forget
from lvkam_pyro.kan.grids.projection import project
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN, check_samples, layer_inputs, layers_of


@dataclass(frozen=True)
class GridUpdate:
    """The report of a change of the grid: what it did to the functions.

    Attributes:
        relative_errors: For every layer, ``(I,)``, the root mean square change of the spline parts
            of an input's functions over the domain, divided by their root mean square.
        num_outside: For every layer, how many of the samples' values lay outside the domain and
            counted as its ends.

    Example:
        >>> print(GridUpdate((torch.tensor([0.001, 0.02]),), (3,)))
        layer 0: relative error at most 2.0e-02 (input 1), 3 values outside the domain
    """

    relative_errors: tuple[Tensor, ...]
    num_outside: tuple[int, ...]

    @property
    def worst(self) -> float:
        """The largest relative error of all."""
        return max(float(errors.max()) for errors in self.relative_errors)

    def __str__(self) -> str:
        """A line for every layer."""
        rows = zip(self.relative_errors, self.num_outside, strict=True)
        return "\n".join(_describe(number, *row) for number, row in enumerate(rows))


def update_grid(
    network: KAN | KANLayer,
    samples: Tensor,
    *,
    ratio: float = 0.05,
    optimizer: Optimizer | None = None,
    tolerance: float = 0.01,
) -> GridUpdate:
    r"""Moves the grid of every input to where its samples are, and keeps the functions.

    The new breakpoints are those of `adapt_breakpoints`: between a uniform grid and the quantiles
    of the samples, with the ends of the domain where they are. The functions are then projected
    on the new splines over the whole domain (see `project`), also where there are no samples. A
    layer of a network sees what the layers before it, moved already, make of the samples. Masks
    and base activations stay.

    Args:
        network: A network or a layer of B-splines, changed IN PLACE: every basis becomes a
            `NonUniformBSplineBasis` with knots for each input; the parameters stay the same
            objects, with new values.
        samples: Inputs of the network, of shape ``(..., I)``.
        ratio: The share of the uniform grid, from 0.001 to 1.
        optimizer: The optimiser in use: what it remembers of the old coefficients is emptied.
        tolerance: A larger relative error is warned about; ``math.inf`` never is.

    Returns:
        How much the functions changed.

    Raises:
        ValueError: If a basis is of another family, the samples do not fit (see `check_samples`),
            the ratio is out of range or the optimiser does not train the coefficients. Nothing
            has changed then.
        TypeError: If the optimiser is none.

    Warns:
        UserWarning: If a function changed by more than the tolerance.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, section 2.2.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> layer = KANLayer(1, 1, basis=BSplineBasis(grid_size=4))
        >>> update = update_grid(layer, 0.1 * torch.randn(1000, 1) + 0.5, tolerance=1.0)
        >>> update.worst < 1.0, len(layer.basis.breakpoints[0])
        (True, 5)
    """
    rows = check_samples(network, samples)
    check_ratio(ratio)
    check_splines(network)
    check_trains(optimizer, [layer.coefficients for layer in layers_of(network)])
    with torch.no_grad():
        steps = [
            (_change(layer, _follow(layer, inputs, ratio), optimizer), _outside(layer, inputs))
            for layer, inputs in layer_inputs(network, rows)
        ]
    errors, outside = zip(*steps, strict=True)
    return _report(GridUpdate(errors, outside), tolerance)


def refine_grid(
    network: KAN | KANLayer,
    grid_size: int,
    *,
    optimizer: Optimizer | None = None,
    tolerance: float = 0.01,
) -> GridUpdate:
    r"""Gives every function a grid of more cells, and keeps the functions.

    Cells of a non-uniform grid are subdivided, see `subdivide`, which changes no function. A
    uniform grid stays uniform: that is exact if the new number of cells is a multiple of the old,
    and else a projection (see `project`).

    Args:
        network: A network or a layer of B-splines, changed IN PLACE: its coefficients become a new
            parameter of another shape.
        grid_size: The number of cells wanted, more than any layer has.
        optimizer: The optimiser in use: it trains the new parameter in the old one's place, from
            an empty memory. Without it no optimiser knows the new parameter.
        tolerance: A larger relative error is warned about; ``math.inf`` never is.

    Returns:
        How much the functions changed.

    Raises:
        ValueError: If a basis is of another family, the grid would not be finer or the optimiser
            does not train the coefficients. Nothing has changed then.
        TypeError: If the optimiser is none.

    Warns:
        UserWarning: If a function changed by more than the tolerance.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, section 2.4, "grid extension".
        https://arxiv.org/abs/2404.19756

    Example:
        >>> from lvkam_pyro.kan.bases.bspline import BSplineBasis
        >>> layer = KANLayer(3, 2, basis=BSplineBasis(grid_size=5))
        >>> z = torch.rand(10, 3)
        >>> before = layer(z)
        >>> refine_grid(layer, 20).worst < 1e-12, layer.coefficients.shape
        (True, torch.Size([3, 24, 2]))
        >>> torch.allclose(layer(z), before, atol=1e-5)
        True
    """
    check_splines(network)
    layers = layers_of(network)
    check_trains(optimizer, [layer.coefficients for layer in layers])
    _check_finer(layers, grid_size)
    with torch.no_grad():
        errors = tuple(_change(layer, _refine(layer, grid_size), optimizer) for layer in layers)
    return _report(GridUpdate(errors, (0,) * len(layers)), tolerance)


def _follow(layer: KANLayer, inputs: Tensor, ratio: float) -> NonUniformBSplineBasis:
    """The layer's basis on a grid that follows the inputs (S, I)."""
    basis = _splines(layer)
    breakpoints = adapt_breakpoints(inputs, basis.domain, basis.grid_size, ratio=ratio)
    return _on(breakpoints, layer)


def _refine(layer: KANLayer, grid_size: int) -> SplineBasis:
    """The layer's basis on a grid of more cells."""
    basis = _splines(layer)
    if isinstance(basis, NonUniformBSplineBasis):
        return _on(subdivide(basis.breakpoints.double(), grid_size), layer)
    return equal_cells(grid_size, basis).to(layer.coefficients)


def _on(breakpoints: Tensor, layer: KANLayer) -> NonUniformBSplineBasis:
    """The layer's splines with other breakpoints, in float64, and the same domain."""
    basis = _splines(layer)
    # What was kept in the layer's precision has lost the last digits of the ends.
    breakpoints[..., 0], breakpoints[..., -1] = basis.domain
    return splines_on(breakpoints, basis).to(layer.coefficients)


def _change(layer: KANLayer, basis: SplineBasis, optimizer: Optimizer | None) -> Tensor:
    """Gives the layer a basis and the coefficients of its functions there; the errors (I,)."""
    projection = project(layer.basis, basis)
    spline, base = layer.coefficients.tensor_split([layer.basis.num_functions], dim=1)
    error = projection.relative_error(spline * layer.mask.unsqueeze(1))
    layer.basis = basis
    _set_coefficients(layer, torch.cat([projection(spline), base], 1), optimizer)
    return error


def _set_coefficients(layer: KANLayer, values: Tensor, optimizer: Optimizer | None) -> None:
    """Writes into the parameter, or replaces it by one of another shape."""
    old = layer.coefficients
    if values.shape == old.shape:
        old.copy_(values)
        # A gradient that waits for a step is of the old coefficients.
        old.grad = None
        if optimizer is not None:
            forget(optimizer, old)
        return
    layer.coefficients = nn.Parameter(values, requires_grad=old.requires_grad)
    if optimizer is not None:
        exchange(optimizer, old, layer.coefficients)


def _outside(layer: KANLayer, inputs: Tensor) -> int:
    low, high = layer.domain
    return int(((inputs < low) | (inputs > high)).sum())


def _splines(layer: KANLayer) -> SplineBasis:
    """The layer's basis.

    Raises:
        ValueError: If it is of another family than B-splines.
    """
    if isinstance(layer.basis, SplineBasis):
        return layer.basis
    raise ValueError(
        f"Expected a layer of B-splines, got {type(layer.basis).__name__}: only their grid can be "
        "moved or refined without losing the function. Build the layer with a BSplineBasis, or "
        "with more functions of its family."
    )


def check_splines(network: KAN | KANLayer) -> None:
    """Refuses a network whose grids cannot be moved.

    Raises:
        ValueError: If a layer's basis is of another family than B-splines.

    Example:
        >>> check_splines(KAN([3, 2]))
    """
    for layer in layers_of(network):
        _splines(layer)


def _check_finer(layers: list[KANLayer], grid_size: int) -> None:
    largest = max(_splines(layer).grid_size for layer in layers)
    if grid_size != int(grid_size) or grid_size <= largest:
        raise ValueError(
            f"Expected a whole number of cells above the {largest} there are, got {grid_size}. A "
            "coarser grid could not keep the functions."
        )


def _report(update: GridUpdate, tolerance: float) -> GridUpdate:
    if update.worst > tolerance:
        warnings.warn(
            f"The grid changed functions by more than the tolerance of {tolerance}:\n{update}\n"
            "Train on, or use more cells, or a larger ratio.",
            stacklevel=3,
        )
    return update


def _describe(number: int, errors: Tensor, num_outside: int) -> str:
    worst = int(errors.argmax())
    line = f"layer {number}: relative error at most {errors[worst]:.1e} (input {worst})"
    return f"{line}, {num_outside} values outside the domain" if num_outside else line
