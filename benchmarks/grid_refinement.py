"""Projects KAN functions on other grids against the least squares at samples that is usual.

The peers evaluate all functions at samples of the inputs and fit the new coefficients to these
values: one fit for all functions of an input, as efficient-kan does, or one for each function, as
pykan does. Prints the ratios of CPU times, higher being faster, each the median over alternating
blocks, and what either way does to the functions: the relative root mean square change over the
whole domain. Run with one thread:

    OMP_NUM_THREADS=1 python benchmarks/grid_refinement.py
"""

import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.grids.grid import SplineBasis
from lvkam_pyro.kan.grids.knots import adapt_breakpoints
from lvkam_pyro.kan.grids.projection import project

SHAPES = ((20, 41), (64, 64), (40, 784))
GRID_SIZE = 10
NUM_SAMPLES = 2000
NUM_BLOCKS = 5
MAX_FUNCTIONS = 1000
"""A fit for each function takes a matrix for each: GiBs of memory beyond this."""
INPUTS = {
    "samples everywhere": lambda *shape: torch.rand(shape),
    "samples around the middle": lambda *shape: (0.5 + 0.1 * torch.randn(shape)).clamp(0, 1),
}


def fit_at_samples(
    source: SplineBasis, target: SplineBasis, coefficients: Tensor, z: Tensor
) -> Tensor:
    """Least squares at samples (S, I), a fit for each input: coefficients (I, K0, O)."""
    curves = source(z).transpose(0, 1) @ coefficients
    design = target(z).transpose(0, 1)
    return torch.linalg.lstsq(design, curves).solution


def fit_each_function(
    source: SplineBasis, target: SplineBasis, coefficients: Tensor, z: Tensor
) -> Tensor:
    """The same with a fit for each function."""
    curves = (source(z).transpose(0, 1) @ coefficients).mT.unsqueeze(-1)
    design = target(z).transpose(0, 1).unsqueeze(1).expand(-1, curves.shape[1], -1, -1)
    return torch.linalg.lstsq(design, curves).solution.squeeze(-1).mT


def relative_change(
    source: SplineBasis, target: SplineBasis, before: Tensor, after: Tensor
) -> float:
    """The relative root mean square change of all functions over the domain."""
    z = ((torch.arange(1000) + 0.5) / 1000).double().unsqueeze(-1).expand(-1, len(before))
    old, new = (
        copy.deepcopy(basis).double()(z).transpose(0, 1) @ coefficients.double()
        for basis, coefficients in ((source, before), (target, after))
    )
    return float((new - old).norm() / old.norm())


def cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def median_ratio(slow: Callable[[], object], fast: Callable[[], object]) -> float:
    blocks = [(cpu_time(slow), cpu_time(fast)) for _ in range(NUM_BLOCKS + 1)]
    return statistics.median(a / b for a, b in blocks[1:])


def row(name: str, target: SplineBasis, coefficients: Tensor, z: Tensor) -> list[float]:
    """The ratios to both peers, NaN where the second takes too much memory, and the changes."""
    source = BSplineBasis(grid_size=GRID_SIZE)

    def ours() -> Tensor:
        return project(source, target)(coefficients)

    def peer(fit: Callable[..., Tensor] = fit_at_samples) -> Tensor:
        return fit(source, target, coefficients, z)

    is_small = coefficients.shape[0] * coefficients.shape[2] <= MAX_FUNCTIONS
    ratios = [
        median_ratio(peer, ours),
        median_ratio(lambda: peer(fit_each_function), ours) if is_small else math.nan,
    ]
    errors = [relative_change(source, target, coefficients, way()) for way in (ours, peer)]
    print(f"{name:<58}{ratios[0]:>10.0f}{ratios[1]:>13.0f}{errors[0]:>10.1e}{errors[1]:>15.1e}")
    return ratios


def main() -> None:
    torch.manual_seed(0)
    print(f"{'':<58}{'times faster than':>23}{'change of functions':>25}")
    heads = f"{'per input':>10}{'per function':>13}{'ours':>10}{'least squares':>15}"
    print(f"{'10 cells, float32':<58}{heads}")
    ratios = []
    for in_features, out_features in SHAPES:
        coefficients = torch.randn(in_features, GRID_SIZE + 3, out_features)
        for name, draw in INPUTS.items():
            z = draw(NUM_SAMPLES, in_features)
            moved = adapt_breakpoints(z, (0.0, 1.0), GRID_SIZE, ratio=0.5).float()
            for kind, target in (
                ("to 20 cells", BSplineBasis(grid_size=2 * GRID_SIZE)),
                ("to where the samples are", NonUniformBSplineBasis(moved)),
            ):
                label = f"{in_features}x{out_features}, {name}, {kind}"
                ratios.append(row(label, target, coefficients, z))
    columns = ([r for r in column if not math.isnan(r)] for column in zip(*ratios, strict=True))
    means = [math.exp(statistics.fmean(map(math.log, column))) for column in columns]
    print(f"{'geometric mean':<58}{means[0]:>10.0f}{means[1]:>13.0f}")


if __name__ == "__main__":
    main()
