"""All functions of a layer as formulas, in one table."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import check_samples
from lvkam_pyro.kan.symbolic.fit import SymbolicFit, fit_column
from lvkam_pyro.kan.symbolic.forms import FORMS, SymbolicForm
from lvkam_pyro.kan.symbolic.refinement import thin

NUM_POINTS = 200
MAX_ROWS = 40


@dataclass(frozen=True)
class LayerFit:
    """The ranked formulas of every function of a layer.

    ``fit[i, o]`` are those of the function from input `i` to output `o`, best first, and
    ``str(fit)`` is a table of the best ones, of at most 40 functions: those that vary most.

    Args:
        ranked: The formulas, for each input and each output.
        spread: The standard deviation of every function over the points, `(I, O)`.

    Example:
        >>> layer = KANLayer(2, 1)
        >>> layer.set_mask(torch.tensor([[1.0], [0.0]]))
        >>> print(fit_symbolic_layer(layer)[1, 0][0])
        0
    """

    ranked: tuple[tuple[tuple[SymbolicFit, ...], ...], ...]
    spread: Tensor

    def __getitem__(self, function: tuple[int, int]) -> tuple[SymbolicFit, ...]:
        """The formulas of the function from one input to one output, best first."""
        in_feature, out_feature = function
        return self.ranked[in_feature][out_feature]

    @property
    def r_squared(self) -> Tensor:
        """The `R^2` of the best formula of every function, `(I, O)`."""
        rows = [[fits[0].r_squared for fits in row] for row in self.ranked]
        return torch.tensor(rows, dtype=torch.float64)

    def __str__(self) -> str:
        """The table."""
        order = self.spread.flatten().argsort(descending=True, stable=True)
        shown = sorted(order[:MAX_ROWS].tolist())
        lines = ["input output    spread      R^2  formula"]
        lines += [self._line(*divmod(number, self.spread.shape[1])) for number in shown]
        hidden = self.spread.numel() - len(shown)
        return "\n".join([*lines, f"and {hidden} that vary less"] if hidden else lines)

    def _line(self, i: int, o: int) -> str:
        best = self[i, o][0]
        return f"{i:5d} {o:6d} {self.spread[i, o]:9.3g} {best.r_squared:8.5f}  {best}"


@torch.no_grad()
def fit_symbolic_layer(
    layer: KANLayer,
    samples: Tensor | None = None,
    *,
    forms: Iterable[SymbolicForm] = tuple(FORMS.values()),
    penalty: float = 0.1,
) -> LayerFit:
    """Fits every form to every function of a layer.

    All functions of an input are fitted together, as in ``fit_symbolic``, at 200 points: evenly
    over the domain, or at quantiles of the samples, where a function matters.

    Args:
        layer: The layer.
        samples: Inputs of the layer, of shape ``(..., I)``; None: all of its domain.
        forms: The forms to try, by default those of the library.
        penalty: What a unit of complexity costs, see ``fit_symbolic``.

    Raises:
        ValueError: If the samples do not fit the layer or an argument is not as ``fit_symbolic``
            wants it.

    Example:
        >>> layer = KANLayer(2, 1, base_activation=torch.sin)
        >>> with torch.no_grad():
        ...     layer.coefficients[:, :-1] = 0
        ...     layer.coefficients[:, -1] = torch.tensor([[1.0], [2.0]])
        >>> print(fit_symbolic_layer(layer))
        input output    spread      R^2  formula
            0      0     0.249  1.00000  sin(z)
            1      0     0.498  1.00000  2*sin(z)
    """
    points = _points(layer, samples)
    values = layer.unsummed(points)
    forms = tuple(forms)
    columns = zip(points.unbind(1), values.unbind(1), strict=True)
    ranked = tuple(tuple(fit_column(z, y, forms, penalty)) for z, y in columns)
    return LayerFit(ranked, values.cpu().double().std(0, correction=0))


def _points(layer: KANLayer, samples: Tensor | None) -> Tensor:
    """Points `(M, I)`, in increasing order for each input."""
    if samples is None:
        grid = torch.linspace(*layer.domain, NUM_POINTS).to(layer.coefficients)
        return grid.unsqueeze(1).expand(-1, layer.in_features)
    sorted_samples = check_samples(layer, samples).sort(0).values
    return sorted_samples[thin(sorted_samples, NUM_POINTS)]
