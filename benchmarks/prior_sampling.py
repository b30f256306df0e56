"""Exact draws and densities of log-spline priors: ours against the alternatives.

820 densities of 20 cells, 1000 draws of each, float32: the size at which the original recipe
draws its prior. All run in turn in one process on one thread; what counts is the ratio of CPU
times in one run.

    python benchmarks/prior_sampling.py
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, Normal

import lvkam_pyro as lv

NUM_DENSITIES, NUM_CELLS, NUM_DRAWS, NUM_COMPONENTS = 820, 20, 1000, 4
NUM_POINTS = 1_000_000
Task = Callable[[], object]


def spline_table(*batch: int) -> Tensor:
    """Local polynomials of cubic splines with standard normal coefficients."""
    basis = lv.BSplineBasis(grid_size=NUM_CELLS)
    return basis.to_polynomials(torch.randn(*batch, NUM_CELLS + 3)).contiguous()


class Interpolation:
    """The reference implementation's sampler: a step-wise distribution function, interpolated.

    Cumulative sums of weights times densities at 100 nodes are inverted linearly; the interval of
    a draw is found by comparing it with every node, in an array of draws x grid. Its distribution
    function is off by about 0.01 with equal weights, and by more with those of the original.
    """

    def __init__(self, density: lv.LogSpline, num_nodes: int = 100) -> None:
        self.nodes = torch.linspace(0, 1, num_nodes + 1)
        self.middles = (0.5 * (self.nodes[1:] + self.nodes[:-1])).expand(NUM_DENSITIES, -1)
        self.density = density

    def cumulative(self) -> Tensor:
        """Distribution function at the nodes, `(densities, nodes + 1)`."""
        cdf = self.density.log_prob(self.middles.T).T.exp().cumsum(-1)
        return torch.nn.functional.pad(cdf / cdf[:, -1:], (1, 0))

    def dense(self) -> Tensor:
        """Draws by one-hot masks over the grid."""
        cdf = self.cumulative()
        u = torch.rand(len(cdf), NUM_DRAWS, 1)
        below, above = cdf[:, None, :-1], cdf[:, None, 1:]
        hit = ((below < u) & (u <= above)).to(u)
        low, high = (hit * below).sum(-1), (hit * above).sum(-1)
        start, width = hit @ self.nodes[:-1], 1 / (len(self.nodes) - 1)
        return start + width * (u[..., 0] - low) / (high - low)

    def limit(self) -> Tensor:
        """Uniform numbers and one search for each: what no such sampler can be faster than."""
        u = torch.rand(NUM_DENSITIES, NUM_DRAWS)
        return torch.searchsorted(self.cumulative(), u)


def reparameterised(table: Tensor) -> Task:
    """Draws and the gradient of their sum."""
    leaf = table.clone().requires_grad_()

    def task() -> None:
        points = torch.linspace(0, 1, NUM_CELLS + 1)
        lv.LogSpline(leaf, points).rsample((NUM_DRAWS,)).sum().backward()

    return task


def sampling_tasks(table: Tensor) -> dict[str, Task]:
    """Name to a task that draws 820 x 1000."""
    points = torch.linspace(0, 1, NUM_CELLS + 1)
    mixture_table = spline_table(NUM_DENSITIES // NUM_COMPONENTS, NUM_COMPONENTS)
    rival = Interpolation(lv.LogSpline(table, points))

    def draw() -> Tensor:
        return lv.LogSpline(table, points).sample((NUM_DRAWS,))

    def draw_mixture() -> Tensor:
        mixture = lv.LogSplineMixture(lv.LogSpline(mixture_table, points))
        return mixture.sample((NUM_DRAWS * NUM_COMPONENTS,))

    def draw_double() -> Tensor:
        return lv.LogSpline(table.double(), points.double()).sample((NUM_DRAWS,))

    return {
        "reference, one-hot interpolation": rival.dense,
        "lvkam_pyro, exact": draw,
        "lvkam_pyro, exact, float64": draw_double,
        "lvkam_pyro, mixtures of 4": draw_mixture,
        "lvkam_pyro, forward + backward": reparameterised(table),
        "torch.rand + searchsorted (limit)": rival.limit,
    }


def density_tasks(table: Tensor) -> dict[str, Task]:
    """Name to a task in milliseconds."""
    points = torch.linspace(0, 1, NUM_CELLS + 1)
    num_latents = 16
    mixture = lv.LogSplineMixture(
        lv.LogSpline(spline_table(num_latents, NUM_COMPONENTS), points), validate_args=False
    )
    means = torch.rand(num_latents, NUM_COMPONENTS)
    normals = MixtureSameFamily(
        Categorical(logits=torch.zeros(num_latents, NUM_COMPONENTS)),
        Normal(means, 0.1),
        validate_args=False,
    )
    z = mixture.sample((NUM_POINTS // num_latents,))
    density = lv.LogSpline(table, points)

    def normalize() -> Tensor:
        return lv.LogSpline(density.coefficients, density.panels, density.reference)._table.cdf

    return {
        "torch MixtureSameFamily of normals, log_prob": lambda: normals.log_prob(z),
        "lvkam_pyro LogSplineMixture, log_prob": lambda: mixture.log_prob(z),
        "lvkam_pyro, normaliser of 820 densities": normalize,
    }


def measure(tasks: dict[str, Task], *, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each task, in turn."""
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for round_number in range(rounds + 1):
        for name, task in tasks.items():
            start = time.process_time()
            task()
            if round_number > 0:  # the first round warms up
                times[name].append(time.process_time() - start)
    return times


def report(times: dict[str, list[float]], base: str, unit: Callable[[float], float]) -> None:
    """One line a task: its median in a unit, and its speed against the base."""
    for name, values in times.items():
        ratio = statistics.median(b / v for v, b in zip(values, times[base], strict=True))
        print(f"{name:<48}{unit(statistics.median(values)):>12.2f}{ratio:>12.2f}")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--deviation", type=float, default=1.0, help="of the spline coefficients")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    table = options.deviation * spline_table(NUM_DENSITIES)
    print(f"{'draws':<48}{'million/s':>12}{'speed':>12}")
    sampling = sampling_tasks(table)
    millions = NUM_DENSITIES * NUM_DRAWS / 1e6
    report(measure(sampling, rounds=options.rounds), next(iter(sampling)), lambda s: millions / s)
    print(f"\n{'densities':<48}{'ms':>12}{'speed':>12}")
    densities = density_tasks(table)
    report(measure(densities, rounds=options.rounds), next(iter(densities)), lambda s: 1e3 * s)


if __name__ == "__main__":
    main()
