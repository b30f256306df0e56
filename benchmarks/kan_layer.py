"""Times a KAN layer against a layer that evaluates all B-splines by the Cox-de Boor recursion.

Prints ratios of CPU time, higher being faster, each the median over alternating blocks of the two
layers: a ratio within one run counts, a time does not. Run with one thread:

    OMP_NUM_THREADS=1 python benchmarks/kan_layer.py
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer

SHAPES = ((64, 64), (20, 41), (41, 196), (40, 784))
GRID_SIZES = (5, 10, 20)
BATCH_SIZE = 1024
NUM_BLOCKS = 15
FORMS = ("summed, with gradient", "summed", "unsummed, with gradient", "selected, with gradient")


class CoxDeBoorLayer(nn.Module):
    """The common form of a KAN layer: the recursion over all functions, then a dense product."""

    knots: Tensor

    def __init__(
        self, in_features: int, out_features: int, *, grid_size: int, degree: int = 3
    ) -> None:
        super().__init__()
        self.degree = degree
        self.register_buffer("knots", torch.arange(-degree, grid_size + degree + 1) / grid_size)
        num_functions = grid_size + degree
        self.base_weight = nn.Parameter(torch.randn(out_features, in_features) / in_features)
        self.spline_weight = nn.Parameter(
            torch.randn(out_features, in_features, num_functions) / in_features
        )

    def basis(self, z: Tensor) -> Tensor:
        z, knots = z.unsqueeze(-1), self.knots
        values = ((z >= knots[:-1]) & (z < knots[1:])).to(z.dtype)
        for d in range(1, self.degree + 1):
            rising = (z - knots[: -d - 1]) / (knots[d:-1] - knots[: -d - 1])
            falling = (knots[d + 1 :] - z) / (knots[d + 1 :] - knots[1:-d])
            values = rising * values[..., :-1] + falling * values[..., 1:]
        return values

    def forward(self, z: Tensor) -> Tensor:
        base = F.linear(F.silu(z), self.base_weight)
        return base + F.linear(self.basis(z).flatten(-2), self.spline_weight.flatten(-2))

    def unsummed(self, z: Tensor) -> Tensor:
        base = F.silu(z).unsqueeze(-1) * self.base_weight.T
        return base + torch.einsum("nik,oik->nio", self.basis(z), self.spline_weight)

    def selected(self, z: Tensor, index: Tensor) -> Tensor:
        return self.unsummed(z).gather(-1, index.unsqueeze(-1)).squeeze(-1)


def forms(layer: CoxDeBoorLayer | KANLayer, z: Tensor, index: Tensor) -> list[Callable[[], None]]:
    """One timed call for each of FORMS."""

    def with_gradient(value: Callable[[], Tensor]) -> None:
        layer.zero_grad()
        z.grad = None
        value().square().sum().backward()

    def without_gradient() -> None:
        with torch.no_grad():
            layer(z)

    return [
        lambda: with_gradient(lambda: layer(z)),
        without_gradient,
        lambda: with_gradient(lambda: layer.unsummed(z)),
        lambda: with_gradient(lambda: layer.selected(z, index)),
    ]


def cpu_time(call: Callable[[], None]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def median_ratio(slow: Callable[[], None], fast: Callable[[], None]) -> float:
    blocks = [(cpu_time(slow), cpu_time(fast)) for _ in range(NUM_BLOCKS + 1)]
    return statistics.median(a / b for a, b in blocks[1:])


def rows() -> Iterator[tuple[str, list[float]]]:
    for in_features, out_features in SHAPES:
        z = torch.rand(BATCH_SIZE, in_features, requires_grad=True)
        index = torch.randint(out_features, z.shape)
        for grid_size in GRID_SIZES:
            ours = KANLayer(in_features, out_features, basis=BSplineBasis(grid_size=grid_size))
            peer = CoxDeBoorLayer(in_features, out_features, grid_size=grid_size)
            pairs = zip(forms(peer, z, index), forms(ours, z, index), strict=True)
            name = f"{in_features}x{out_features}, grid {grid_size}"
            yield name, [median_ratio(slow, fast) for slow, fast in pairs]


def main() -> None:
    torch.manual_seed(0)
    print(f"{'shape':<20}" + "".join(f"{form:>26}" for form in FORMS))
    table = []
    for name, ratios in rows():
        table.append(ratios)
        print(f"{name:<20}" + "".join(f"{ratio:>26.2f}" for ratio in ratios), flush=True)
    means = [
        math.exp(statistics.fmean(map(math.log, column))) for column in zip(*table, strict=True)
    ]
    print(f"{'geometric mean':<20}" + "".join(f"{mean:>26.2f}" for mean in means))


if __name__ == "__main__":
    main()
