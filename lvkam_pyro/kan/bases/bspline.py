"""B-splines on a uniform grid, evaluated by the polynomials of one cell."""

import math
from itertools import accumulate
from typing import Any

import torch
from torch import Size, Tensor

from lvkam_pyro.kan.bases.extrapolation import CONSTANT, Extrapolation
from lvkam_pyro.kan.bases.splines import SplineBasis, cell_polynomials
from lvkam_pyro.options import check_count


class BSplineBasis(SplineBasis):
    r"""B-splines of degree :math:`d` on :math:`G` equal cells: :math:`K = G + d` functions.

    The knots continue the uniform grid by :math:`d` cells on each side. In cell :math:`g`, with
    :math:`t \in [0, 1]` the position inside it, exactly :math:`d + 1` functions differ from 0, and
    they are the same polynomials in every cell:

    .. math:: \phi_{g+j}(z) = \sum_{p=0}^{d} M_{jp} t^p, \qquad j = 0, \dots, d.

    The functions are not negative, sum to 1 and have :math:`d - 1` continuous derivatives. The
    right end of the domain belongs to the last cell. Values in float64 are accurate to its
    rounding whatever the precision in which the basis was made or kept.

    Args:
        grid_size: The number of cells :math:`G`.
        degree: The degree :math:`d`, 0 to 5.
        domain: The ends of the grid.
        extrapolation: How the functions go on outside, ``ConstantExtrapolation()`` by default.

    Raises:
        ValueError: If an argument is out of range.
        TypeError: If the extrapolation is of the wrong type.

    References:
        de Boor, C. (1978). A Practical Guide to Splines, chapter IX.

    Example:
        >>> basis = BSplineBasis(grid_size=4, degree=1)
        >>> basis(torch.tensor([0.125, 1.0]))
        tensor([[0.5000, 0.5000, 0.0000, 0.0000, 0.0000],
                [0.0000, 0.0000, 0.0000, 0.0000, 1.0000]])
    """

    _scaled_polynomials: Tensor

    def __init__(
        self,
        *,
        grid_size: int = 5,
        degree: int = 3,
        domain: tuple[float, float] = (0.0, 1.0),
        extrapolation: Extrapolation = CONSTANT,
    ) -> None:
        cells = check_count("grid_size", grid_size)
        super().__init__(domain, degree, Size([cells + 1]), extrapolation)
        unit = cell_polynomials(torch.tensor([0.0, 1.0], dtype=torch.float64), degree)[0]
        scaled = (unit * math.factorial(degree)).round().to(torch.get_default_dtype())
        self.register_buffer("_scaled_polynomials", scaled, persistent=False)

    @property
    def breakpoints(self) -> Tensor:
        """The ends of the cells, ``(G+1,)``, in the precision and on the device of the module."""
        like = self._scaled_polynomials
        return torch.linspace(
            *self.domain, self.grid_size + 1, dtype=like.dtype, device=like.device
        )

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        """The derivatives of the first and the last ``degree+1`` functions: ``(2, degree+1)``."""
        low, high = self.domain
        polynomials = self._polynomials(dtype)
        powers = torch.arange(self.degree + 1, dtype=dtype, device=polynomials.device)
        # At t = 0 only the linear term has a slope; a sum, because degree 0 has no such term.
        slopes = torch.stack([polynomials[:, 1:2].sum(-1), polynomials @ powers])
        return slopes * (self.grid_size / (high - low))

    def local(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """The cells of points, `(...)`, and the functions there, `(..., degree+1)`."""
        low, high = self.domain
        position = (z - low) * (self.grid_size / (high - low))
        # The right end belongs to the last cell, and the conversion of a NaN may give any number.
        cell = position.detach().long().clamp(0, self.grid_size - 1)
        return cell, self._evaluate_in_cell(position - cell.to(position.dtype))

    def _evaluate_in_cell(self, t: Tensor) -> Tensor:
        """The polynomials of a cell at t of shape (...): (..., degree+1)."""
        if self.degree == 0:
            return (1 + 0 * t).unsqueeze(-1)
        powers = torch.stack(list(accumulate([t.flatten()] * self.degree, torch.mul)))
        constants, others = self._polynomials(t.dtype).split([1, self.degree], -1)
        # One product for all functions, which come first: rows as long as t, and its gradient's.
        values = torch.addmm(constants, others, powers)
        return values.reshape(self.degree + 1, *t.shape).movedim(0, -1)

    def _polynomials(self, dtype: torch.dtype) -> Tensor:
        """The matrix M; what is kept is d! M, whose integers no change of precision rounds."""
        return self._scaled_polynomials.to(dtype) / math.factorial(self.degree)

    def _save_to_state_dict(self, destination: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Adds the number of cells, which the number of coefficients does not tell."""
        super()._save_to_state_dict(destination, prefix, *args)
        destination[f"{prefix}grid_size"] = torch.tensor(self.grid_size)

    def _load_from_state_dict(self, state: dict[str, Tensor], prefix: str, *args: Any) -> None:
        """Refuses a state of another number of cells; states of old do not say theirs."""
        grid_size = int(state.pop(f"{prefix}grid_size", self.grid_size))
        if grid_size != self.grid_size:
            args[-1].append(
                f"Expected a state of B-splines on {self.grid_size} cells, got one of {grid_size}. "
                f"Build the basis with grid_size={grid_size}, and with the degree that it had."
            )
        super()._load_from_state_dict(state, prefix, *args)

    def extra_repr(self) -> str:
        """The arguments that make this basis."""
        return f"grid_size={self.grid_size}, degree={self.degree}, {self._describe_domain()}"


def equal_cells(grid_size: int, like: SplineBasis) -> BSplineBasis:
    """Splines on equal cells, of the degree, domain and extrapolation of a basis."""
    return BSplineBasis(
        grid_size=grid_size,
        degree=like.degree,
        domain=like.domain,
        extrapolation=like.extrapolation,
    )
