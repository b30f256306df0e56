"""Projects KAN functions on other grids against the least squares of samples that KANs are used to.

The peer evaluates all functions at samples of the inputs and fits the new coefficients to these
values. Prints the ratio of CPU times, higher being faster, the median over alternating blocks, and
what each does to the functions: the relative root mean square change over the whole domain. Run
with one thread:

    OMP_NUM_THREADS=1 python benchmarks/grid_refinement.py
"""

import copy
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.grid import SplineBasis
from lvkam_pyro.kan.knots import adapt_breakpoints
from lvkam_pyro.kan.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.projection import project

SHAPES = ((20, 41), (64, 64), (40, 784))
GRID_SIZE = 10
NUM_SAMPLES = 2000
NUM_BLOCKS = 5
INPUTS = {
    "samples everywhere": lambda *shape: torch.rand(shape),
    "samples around the middle": lambda *shape: (0.5 + 0.1 * torch.randn(shape)).clamp(0, 1),
}


def fit_at_samples(
    source: SplineBasis, target: SplineBasis, coefficients: Tensor, z: Tensor
) -> Tensor:
    """The usual way: least squares at samples (S, I), for coefficients (I, K0, O)."""
    curves = source(z).transpose(0, 1) @ coefficients
    design = target(z).transpose(0, 1)
    # Cells without samples leave columns of zeros, which only this driver can take.
    return torch.linalg.lstsq(design, curves, driver="gelsd").solution


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


def row(name: str, target: SplineBasis, coefficients: Tensor, z: Tensor) -> float:
    source = BSplineBasis(grid_size=GRID_SIZE)

    def ours() -> Tensor:
        return project(source, target)(coefficients)

    def peer() -> Tensor:
        return fit_at_samples(source, target, coefficients, z)

    ratio = median_ratio(peer, ours)
    errors = [relative_change(source, target, coefficients, way()) for way in (ours, peer)]
    print(f"{name:<56}{ratio:>8.0f}" + "".join(f"{error:>14.1e}" for error in errors), flush=True)
    return ratio


def main() -> None:
    torch.manual_seed(0)
    print(f"{'grid 10, float32':<56}{'faster':>8}{'change, ours':>14}{'least squares':>14}")
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
    mean = math.exp(statistics.fmean(map(math.log, ratios)))
    print(f"{'geometric mean':<56}{mean:>8.0f}")


if __name__ == "__main__":
    main()
