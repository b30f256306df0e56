"""Draws of log-spline densities by rejection, beside inversion and the plainest rejection.

820 densities of 20 cells, 1000 draws of each in float32 on one thread: tables are built anew for
every call, as after every training step. The plain way proposes uniformly under the function's one
largest Bernstein coefficient. What counts is the ratio of CPU times in alternating blocks.

    OMP_NUM_THREADS=1 python benchmarks/rejection.py
"""

import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.distributions.bounds import control_points
from lvkam_pyro.distributions.univariate import Sampler, UnivariateDensity

NUM_DENSITIES, NUM_DRAWS, GRID_SIZE, NUM_BLOCKS = 820, 1000, 20, 5
POINTS = torch.linspace(0, 1, GRID_SIZE + 1)


def plain_rejection(density: UnivariateDensity, shape: torch.Size) -> Tensor:
    """Uniform proposals under one constant, for those elements that are still refused."""
    assert isinstance(density, lv.LogSpline)
    bound = control_points(density.coefficients, 1).amax((-2, -1)).expand(shape)
    z = torch.rand(shape)
    refused = torch.rand(shape).log() > density._log_potential(z) - bound
    while refused.any():
        again = torch.rand(shape)
        accepted = torch.rand(shape).log() <= density._log_potential(again) - bound
        z = torch.where(refused & accepted, again, z)
        refused = refused & ~accepted
    return z


SAMPLERS: dict[str, Sampler | None] = {
    "plain rejection": plain_rejection,
    "inversion": None,
    "log-linear envelope": lv.distributions.RejectionSampler(),
    "constant envelope": lv.distributions.RejectionSampler(lv.distributions.ConstantEnvelope()),
    "constant envelope, 16 pieces": lv.distributions.RejectionSampler(
        lv.distributions.ConstantEnvelope(16)
    ),
}


def task(table: Tensor, sampler: Sampler | None) -> Callable[[], Tensor]:
    def draw() -> Tensor:
        density = lv.LogSpline(table, POINTS)
        density = density if sampler is None else density.drawn_by(sampler)
        return density.sample((NUM_DRAWS,))

    return draw


def cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def report(deviation: float) -> None:
    basis = lv.BSplineBasis(grid_size=GRID_SIZE)
    coefficients = deviation * torch.randn(NUM_DENSITIES, basis.num_functions)
    table = basis.to_polynomials(coefficients)
    tasks = {name: task(table, sampler) for name, sampler in SAMPLERS.items()}
    blocks = [{name: cpu_time(t) for name, t in tasks.items()} for _ in range(NUM_BLOCKS + 1)][1:]
    print(f"\ncoefficients of standard deviation {deviation:g}")
    print(f"{'':<30}{'million/s':>12}{'x inversion':>14}{'acceptance':>12}")
    for name, sampler in SAMPLERS.items():
        millions = NUM_DENSITIES * NUM_DRAWS / 1e6 / statistics.median(b[name] for b in blocks)
        ratio = statistics.median(b["inversion"] / b[name] for b in blocks)
        rate = ""
        if isinstance(sampler, lv.distributions.RejectionSampler):
            rate = f"{sampler.acceptance_rate(lv.LogSpline(table, POINTS)).mean():.3f}"
        print(f"{name:<30}{millions:>12.2f}{ratio:>14.2f}{rate:>12}")


def main() -> None:
    torch.manual_seed(0)
    for deviation in (1.0, 2.0):
        report(deviation)


if __name__ == "__main__":
    main()
