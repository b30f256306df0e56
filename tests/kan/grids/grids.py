"""Layers and samples for the tests of what moves a grid."""

import math

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.grids.grid import update_grid
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN

DOMAIN = (-1.0, 2.0)
CENTRES = torch.tensor([0.5, 0.0, 1.5], dtype=torch.float64)


def splines(grid_size: int = 6, **options: object) -> BSplineBasis:
    return BSplineBasis(**{"grid_size": grid_size, "domain": DOMAIN, **options})


def make(basis: BSplineBasis | None = None, **options: object) -> KANLayer:
    return KANLayer(3, 4, basis=basis or splines(), **options).double()


def make_network() -> KAN:
    return KAN([3, 5, 4], basis=splines()).double()


def samples(count: int = 500, spread: float = 0.3) -> Tensor:
    """Another centre for every input, all inside the domain."""
    return (CENTRES + spread * torch.randn(count, 3, dtype=torch.float64)).clamp(*DOMAIN)


def moved(network: KAN | KANLayer, **options: object) -> KAN | KANLayer:
    update_grid(network, samples(), tolerance=math.inf, **options)
    return network
