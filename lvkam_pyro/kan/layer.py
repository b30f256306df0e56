"""The KAN layer: one learned univariate function for each input and output."""

import copy
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvkam_pyro.kan.bases.basis import Basis
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import restore_basis
from lvkam_pyro.kan.bases.splines import SplineBasis
from lvkam_pyro.kan.features import Features, compute_features
from lvkam_pyro.kan.initialization import draw_base_weights, draw_noise
from lvkam_pyro.options import check_count

Activation = Callable[[Tensor], Tensor]


class KANLayer(nn.Module):
    r"""A univariate function of every input for every output.

    .. math:: f_{oi}(z) = m_{oi} \Big[ w_{oi} b(z) + \sum_{k=1}^{K} c_{oik} \phi_k(z) \Big]

    with a base activation :math:`b`, a basis :math:`\phi` and a mask :math:`m` of zeros and ones.
    Three forms are offered, each at its own cost: ``layer(z)`` sums over the inputs, ``unsummed``
    keeps them separate, and ``selected`` evaluates one chosen output for each input.

    Outside the domain of the basis its functions go on as its extrapolation says, by default with
    the value of the nearest end, while the base activation goes on by itself. An input that is
    NaN makes the outputs that it enters NaN, and no others.

    Attributes:
        coefficients: The only parameter, ``(I, K+1, O)``: the basis' coefficients
            :math:`c`, then the base weight :math:`w`; ``(I, K, O)`` without a base activation.
        mask: The buffer :math:`m`, ``(I, O)``, all ones at first. Change it with ``set_mask``.

    Args:
        in_features: The number of inputs :math:`I`.
        out_features: The number of outputs :math:`O`.
        basis: The basis, by default ``BSplineBasis()``. The layer keeps a copy.
        base_activation: An elementwise function of a tensor, or None for :math:`b = 0`.
        mu: The mean of the base weights' scale, see ``draw_base_weights``.
        sigma: The spread of the base weights' scale, see ``draw_base_weights``.
        noise: The standard deviation of the basis' part of an output, see ``draw_noise``.

    Raises:
        ValueError: If a number of features is below 1.
        TypeError: If the basis or the base activation is of the wrong type.

    References:
        Liu, Z. et al. (2024). KAN: Kolmogorov-Arnold Networks, equation 2.10.
        https://arxiv.org/abs/2404.19756

    Example:
        >>> layer = KANLayer(3, 2, basis=BSplineBasis(grid_size=8))
        >>> z = torch.rand(10, 3)
        >>> layer(z).shape, layer.unsummed(z).shape
        (torch.Size([10, 2]), torch.Size([10, 3, 2]))
        >>> layer.selected(z, torch.zeros(10, 3, dtype=torch.long)).shape
        torch.Size([10, 3])
    """

    mask: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        basis: Basis | None = None,
        base_activation: Activation | None = F.silu,
        mu: float = 1.0,
        sigma: float = 1.0,
        noise: float = 0.3,
    ) -> None:
        super().__init__()
        basis = BSplineBasis() if basis is None else basis
        _check_functions(basis, base_activation)
        self.in_features = check_count("in_features", in_features)
        self.out_features = check_count("out_features", out_features)
        self.basis = copy.deepcopy(basis)
        self.base_activation = base_activation
        self.coefficients = nn.Parameter(self._draw_coefficients(mu, sigma, noise))
        self.register_buffer("mask", torch.ones(in_features, out_features))
        self._is_masked = False

    def _draw_coefficients(self, mu: float, sigma: float, noise: float) -> Tensor:
        shape = self.in_features, self.out_features
        spline = draw_noise(self.basis, *shape, noise=noise)
        if self.base_activation is None:
            return spline
        return torch.cat([spline, draw_base_weights(*shape, mu=mu, sigma=sigma).unsqueeze(1)], 1)

    @property
    def domain(self) -> tuple[float, float]:
        """The ends of the interval on which the basis lives."""
        return self.basis.domain

    @property
    def is_piecewise_polynomial(self) -> bool:
        """Whether every function is: B-splines alone, of which ``to_polynomials`` has a table."""
        return self.base_activation is None and isinstance(self.basis, SplineBasis)

    @property
    def spline_coefficients(self) -> Tensor:
        """The masked coefficients of the basis, ``(O, I, K)``."""
        return self._masked_coefficients()[:, : self.basis.num_functions].permute(2, 0, 1)

    def forward(self, z: Tensor) -> Tensor:
        r"""The outputs :math:`\sum_i f_{oi}(z_i)`.

        Args:
            z: Inputs of shape ``(..., I)``.

        Returns:
            Outputs of shape ``(..., O)``.

        Raises:
            ValueError: If the last dimension of ``z`` is not ``I``.
        """
        self._check_inputs(z)
        return self._compute_features(z).summed(self._masked_coefficients())

    def unsummed(self, z: Tensor) -> Tensor:
        r"""Every function :math:`f_{oi}(z_i)` by itself.

        Args:
            z: Inputs of shape ``(..., I)``.

        Returns:
            Values of shape ``(..., I, O)``.

        Raises:
            ValueError: If the last dimension of ``z`` is not ``I``.
        """
        self._check_inputs(z)
        return self._compute_features(z).unsummed(self._masked_coefficients())

    def selected(self, z: Tensor, index: Tensor) -> Tensor:
        r"""One function for each input, :math:`f_{oi}(z_i)` with :math:`o = \text{index}_i`.

        Only the coefficients of the chosen functions near ``z`` are read.

        Args:
            z: Inputs of shape ``(..., I)``.
            index: The chosen outputs, int64 of the same shape as ``z``.

        Returns:
            Values of shape ``(..., I)``.

        Raises:
            ValueError: If the shapes of ``z`` and ``index`` are wrong.
            TypeError: If ``index`` does not hold int64.
            IndexError: If a chosen output does not exist.
        """
        self._check_inputs(z)
        _check_index(index, z)
        mask = self._read_mask(index)
        values = self._compute_features(z).selected(self.coefficients, index)
        return values * mask if self._is_masked else values

    def to_polynomials(self) -> Tensor:
        r"""The polynomial of every function in every cell of the grid.

        Returns:
            Coefficients :math:`a` of shape ``(I, O, G, degree+1)``:
            :math:`f_{oi}(z) = \sum_j a_{oigj} t^j` in cell :math:`g`, with :math:`t \in [0, 1]`
            the position inside it. Differentiable in ``coefficients``.

        Raises:
            ValueError: If the layer has a base activation, or its basis no polynomials.
        """
        if self.base_activation is not None:
            raise ValueError(
                "Expected a layer without base activation, whose functions are piecewise "
                f"polynomials, got base_activation={self.base_activation}. "
                "Build the layer with base_activation=None."
            )
        if not isinstance(self.basis, SplineBasis):
            raise ValueError(
                "Expected a BSplineBasis or a NonUniformBSplineBasis, got "
                f"{type(self.basis).__name__}."
            )
        return self.basis.to_polynomials(self.spline_coefficients).transpose(0, 1)

    @torch.no_grad()
    def set_mask(self, mask: Tensor) -> None:
        """Switches functions off (0) or on (1); a function that is off receives no gradient.

        Args:
            mask: Zeros and ones of shape ``(I, O)``.

        Raises:
            ValueError: If the shape is wrong or a value is neither 0 nor 1.
        """
        if mask.shape != self.mask.shape or not ((mask == 0) | (mask == 1)).all():
            raise ValueError(
                f"Expected a mask of zeros and ones of shape {tuple(self.mask.shape)}, got shape "
                f"{tuple(mask.shape)} and values from {mask.min()} to {mask.max()}."
            )
        self.mask.copy_(mask)
        self._remember_mask()

    def extra_repr(self) -> str:
        """The arguments that are not modules."""
        return f"{self.in_features}, {self.out_features}, base_activation={self.base_activation}"

    def features(self, z: Tensor) -> Tensor:
        """The basis functions and the base activation at z: (..., I, K+1)."""
        return self._compute_features(z).dense()

    def _compute_features(self, z: Tensor) -> Features:
        return compute_features(self.basis, self.base_activation, z)

    def _read_mask(self, index: Tensor) -> Tensor:
        """The mask at chosen outputs; reading it finds an index that is out of range."""
        mask = self.mask.expand(*index.shape, self.out_features)
        try:
            return mask.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        except (IndexError, RuntimeError) as error:
            raise IndexError(
                f"Expected an index of outputs from 0 to {self.out_features - 1}, got values from "
                f"{index.min()} to {index.max()}."
            ) from error

    def _masked_coefficients(self) -> Tensor:
        # A Python flag, not a look at the mask: that would synchronise with the accelerator.
        return self.coefficients * self.mask.unsqueeze(1) if self._is_masked else self.coefficients

    def _remember_mask(self) -> None:
        self._is_masked = not bool(self.mask.all())

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        state, prefix, *_ = args
        self.basis = restore_basis(self.basis, cast("Mapping[str, Tensor]", state), str(prefix))
        super()._load_from_state_dict(*args, **kwargs)
        self._remember_mask()

    def _check_inputs(self, z: Tensor) -> None:
        if z.shape[-1:] != (self.in_features,):
            raise ValueError(
                f"Expected inputs of shape (..., {self.in_features}), got {tuple(z.shape)}."
            )


def _check_functions(basis: object, base_activation: object) -> None:
    if not isinstance(basis, Basis):
        raise TypeError(f"Expected a Basis such as BSplineBasis(), got {basis!r}.")
    if base_activation is not None and not callable(base_activation):
        raise TypeError(
            "Expected a base_activation that is callable, such as torch.nn.SiLU(), or None, got "
            f"{base_activation!r}."
        )


def _check_index(index: Tensor, z: Tensor) -> None:
    if index.dtype != torch.long:
        raise TypeError(f"Expected an index of int64, got {index.dtype}. Convert with .long().")
    if index.shape != z.shape:
        raise ValueError(
            f"Expected an index of the inputs' shape {tuple(z.shape)}, got {tuple(index.shape)}."
        )
