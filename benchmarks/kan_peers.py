"""The KAN layers of other libraries, in the operations they use, for side-by-side timing."""

import importlib.util
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class CoxDeBoorLayer(nn.Module):
    """The algorithm of efficient-kan: the recursion over all functions, then a dense product.

    As there: one row of extended knots an input, a base linear map beside the spline's, and spline
    weights that carry a standalone scale, multiplied in at every call. ``unsummed`` and
    ``selected`` are what one writes with its parts, since it has neither.
    """

    knots: Tensor

    def __init__(self, breakpoints: Tensor, out_features: int, *, degree: int = 3) -> None:
        super().__init__()
        in_features = breakpoints.shape[0]
        self.degree = degree
        self.register_buffer("knots", extend(breakpoints, degree))
        shape = out_features, in_features
        num_functions = breakpoints.shape[1] - 1 + degree
        self.base_weight = nn.Parameter(torch.randn(shape) / in_features)
        self.spline_weight = nn.Parameter(torch.randn(*shape, num_functions) / in_features)
        self.spline_scaler = nn.Parameter(torch.ones(shape))

    @property
    def scaled_spline_weight(self) -> Tensor:
        return self.spline_weight * self.spline_scaler.unsqueeze(-1)

    def basis(self, z: Tensor) -> Tensor:
        z, knots = z.unsqueeze(-1), self.knots
        values = ((z >= knots[:, :-1]) & (z < knots[:, 1:])).to(z.dtype)
        for d in range(1, self.degree + 1):
            rising = (z - knots[:, : -d - 1]) / (knots[:, d:-1] - knots[:, : -d - 1])
            falling = (knots[:, d + 1 :] - z) / (knots[:, d + 1 :] - knots[:, 1:-d])
            values = rising * values[..., :-1] + falling * values[..., 1:]
        return values.contiguous()

    def forward(self, z: Tensor) -> Tensor:
        base = F.linear(F.silu(z), self.base_weight)
        return base + F.linear(self.basis(z).flatten(-2), self.scaled_spline_weight.flatten(-2))

    def unsummed(self, z: Tensor) -> Tensor:
        base = F.silu(z).unsqueeze(-1) * self.base_weight.T
        return base + torch.einsum("nik,oik->nio", self.basis(z), self.scaled_spline_weight)

    def selected(self, z: Tensor, index: Tensor) -> Tensor:
        return self.unsummed(z).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def extend(breakpoints: Tensor, degree: int) -> Tensor:
    """The knots with `degree` cells more on each side, as wide as the average cell."""
    first, last = breakpoints[:, :1], breakpoints[:, -1:]
    steps = (last - first) / (breakpoints.shape[1] - 1) * torch.arange(1, degree + 1)
    return torch.cat([first - steps.flip(-1), breakpoints, last + steps], -1)


class RadialLayer(nn.Module):
    """The form of fast-kan: Gaussian functions, their width the distance of the centres.

    Without its layer norm of the inputs, which would only slow it down.
    """

    centres: Tensor

    def __init__(self, in_features: int, out_features: int, *, num_functions: int) -> None:
        super().__init__()
        self.register_buffer("centres", torch.linspace(0, 1, num_functions))
        self.width = 1 / (num_functions - 1)
        self.spline = nn.Linear(in_features * num_functions, out_features, bias=False)
        self.base = nn.Linear(in_features, out_features)

    def forward(self, z: Tensor) -> Tensor:
        values = torch.exp(-(((z.unsqueeze(-1) - self.centres) / self.width) ** 2))
        return self.spline(values.flatten(-2)) + self.base(F.silu(z))


class PykanLayer(nn.Module):
    """The layer of the package pykan itself, reduced to its first output."""

    def __init__(self, in_features: int, out_features: int, *, grid_size: int) -> None:
        super().__init__()
        layer = importlib.import_module("kan.KANLayer").KANLayer
        self.layer = layer(in_features, out_features, num=grid_size, k=3, grid_range=[0, 1])

    def forward(self, z: Tensor) -> Tensor:
        return self.layer(z)[0]


def has_pykan() -> bool:
    """Whether the extra [benchmarks] is installed."""
    return importlib.util.find_spec("kan") is not None


def perceptron(in_features: int, out_features: int, *, num_parameters: int) -> nn.Module:
    """One hidden layer as wide as the number of parameters allows."""
    width = math.floor((num_parameters - out_features) / (in_features + out_features + 1))
    return nn.Sequential(nn.Linear(in_features, width), nn.SiLU(), nn.Linear(width, out_features))
