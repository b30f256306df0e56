"""What an update costs, in CPU time and peak memory, as each size of the problem grows.

One size at a time: particles S, batch B, data N (on a mapped file), latents Q, outputs O, and the
temperatures T of a ladder; the others stay at 16 latents, 64 outputs and a batch of 128. Each point
is a process of its own, forked, on one thread: the median of some updates of `fit` itself, and the
largest resident memory beyond what was there before and beyond the pages of the mapped file. The
exponent of a curve is its slope between its last three points, where fixed costs matter least.

    python benchmarks/scaling.py [--quick] [--plot docs/images/scaling.png]
"""

import argparse
import ctypes
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot
from matplotlib.figure import Figure
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.plots.style import PALETTE, STYLE

NUM_UPDATES, NUM_WARMUP, NUM_STEPS = 9, 2, 16
NAMES = {
    "S": "particles S",
    "B": "batch B",
    "N": "data N, mapped",
    "Q": "latents Q",
    "O": "outputs O",
    "T": "temperatures T",
}
PRIOR, AMORTISED, LADDER = "prior's particles", "amortised", "ladder, a step"
BOTH = (PRIOR, AMORTISED)
SIZES: dict[str, dict[str, tuple[int, ...]]] = {
    "S": {PRIOR: (64, 256, 1024, 4096, 16384), AMORTISED: (2, 8, 32, 128, 512)},
    "B": dict.fromkeys(BOTH, (32, 128, 512, 2048, 8192)),
    "N": dict.fromkeys(BOTH, (1_000, 10_000, 100_000, 1_000_000)),
    "Q": dict.fromkeys(BOTH, (4, 16, 64, 256)),
    "O": dict.fromkeys(BOTH, (16, 64, 256, 1024, 4096)),
    "T": {LADDER: (4, 8, 16, 32, 64)},
}


@dataclass(frozen=True)
class Sizes:
    """The sizes of one point."""

    S: int
    B: int = 128
    N: int = 0
    Q: int = 16
    O: int = 64  # noqa: E741
    T: int = 8


DEFAULTS = {PRIOR: Sizes(256), AMORTISED: Sizes(8), LADDER: Sizes(4, B=32)}


class EnoughError(Exception):
    """The updates are measured."""


@dataclass
class Clock:
    """A regulariser of no strength that looks at the clock at each update."""

    times: list[float] = field(default_factory=list)

    def __call__(self, model: object) -> Tensor:
        """Ends the training once there are enough times."""
        self.times.append(time.process_time())
        if len(self.times) > NUM_UPDATES + NUM_WARMUP:
            raise EnoughError
        return torch.zeros(())

    @property
    def seconds(self) -> float:
        """Of an update, the median."""
        return statistics.median(b - a for a, b in itertools.pairwise(self.times[NUM_WARMUP:]))


def make_model(sizes: Sizes) -> lv.LVKAM:
    """Cubic B-splines on 8 cells, normal noise."""
    torch.manual_seed(0)
    basis = lv.BSplineBasis(grid_size=8)
    prior = lv.MixturePrior(sizes.Q, basis=basis)
    generator = lv.KANGenerator(sizes.Q, sizes.O, basis=basis)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(sizes.O, scale=1.0))


def seconds_of_update(method: str, sizes: Sizes, x: Tensor | np.ndarray) -> float:
    """CPU seconds of an update of `fit`."""
    guides = {
        PRIOR: lambda model, x: lv.PriorGuide(model),
        AMORTISED: lambda model, x: lv.AmortizedGuide(model, x, hidden=(256, 256)),
    }
    clock = Clock()
    recipe = lv.Recipe(
        name=method,
        build_guide=guides[method],
        objective=lv.EmpiricalBayes(sizes.S),
        num_epochs=10_000,
        batch_size=sizes.B,
        regularizer=clock,
    )
    try:
        lv.fit(make_model(sizes), x, recipe, progress=False)
    except EnoughError:
        return clock.seconds
    raise RuntimeError("The training ended before it was measured.")


def seconds_of_step(sizes: Sizes, x: Tensor) -> float:
    """CPU seconds of a step of all chains of a ladder, between two runs of its model."""
    model, times = make_model(sizes), []

    def timed(x: Tensor) -> object:
        times.append(time.process_time())
        return model(x)

    ladder = lv.ladder.Ladder(
        num_temperatures=sizes.T,
        num_chains=sizes.S,
        num_warmup=8,
        num_samples=NUM_STEPS,
        thinning=1,
    )
    ladder.sample(timed, x, seed=0)
    # The last runs, one a draw, only put the draws into the prior's support.
    steps = times[-2 * NUM_STEPS : -NUM_STEPS]
    return statistics.median(b - a for a, b in itertools.pairwise(steps))


def measure(method: str, sizes: Sizes, file: Path) -> tuple[float, float]:
    """Milliseconds of CPU, and mebibytes at the peak."""
    if sizes.N:
        x = np.memmap(file, dtype=np.float32, mode="r", shape=(sizes.N, sizes.O))
    else:
        x = torch.rand(2 * sizes.B, sizes.O)
    before = memory()
    if method == LADDER:
        seconds = seconds_of_step(sizes, x[: sizes.B])
    else:
        seconds = seconds_of_update(method, sizes, x)
    after = memory()
    mapped = after["RssFile"] - before["RssFile"]
    return 1e3 * seconds, (after["VmHWM"] - before["VmRSS"] - mapped) / 1024


def memory() -> dict[str, int]:
    """What Linux says of this process, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith("kB")}


def in_a_process(job: Callable[[], object]) -> object:
    """What a job returns in a fork, whose memory is its own."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        # The peak counts from here, and what is free is not there to be used again.
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
        os.write(write, json.dumps(job()).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        result = answer.read()
    os.waitpid(child, 0)
    return json.loads(result)


def write_data(file: Path, num_data: int) -> None:
    """Rows of 64 float32 numbers."""
    rng = np.random.default_rng(0)
    x = np.memmap(file, dtype=np.float32, mode="w+", shape=(num_data, 64))
    for first in range(0, num_data, 10_000):
        x[first : first + 10_000] = rng.random(x[first : first + 10_000].shape, dtype=np.float32)
    x.flush()


def slope(sizes: tuple[int, ...], values: list[float]) -> float:
    """The exponent between the last three points."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(values[-3:]), 1)[0])


Curves = dict[tuple[str, str], tuple[tuple[int, ...], list[float], list[float]]]


def curves(
    file: Path, *, quick: bool
) -> Iterator[tuple[tuple[str, str], tuple[tuple[int, ...], list[float], list[float]]]]:
    """For each axis and method: sizes, milliseconds, mebibytes."""
    for axis, methods in SIZES.items():
        for method, all_sizes in methods.items():
            sizes = all_sizes[:3] if quick else all_sizes
            points = [
                in_a_process(
                    lambda method=method, size=size, axis=axis: measure(
                        method, replace(DEFAULTS[method], **{axis: size}), file
                    )
                )
                for size in sizes
            ]
            milliseconds, mebibytes = map(list, zip(*points, strict=True))
            yield (axis, method), (sizes, milliseconds, mebibytes)


def show(measured: Curves) -> None:
    """The table, with the exponents."""
    print(f"{'axis':<16}{'method':<20}{'exponents':>11}   ms CPU (MiB at the peak), by size")
    for (axis, method), (sizes, milliseconds, mebibytes) in measured.items():
        exponents = f"{slope(sizes, milliseconds):.2f} {slope(sizes, mebibytes):.2f}"
        points = zip(sizes, milliseconds, mebibytes, strict=True)
        row = "  ".join(f"{n}: {ms:.3g} ({mib:.0f})" for n, ms, mib in points)
        print(f"{NAMES[axis]:<16}{method:<20}{exponents:>11}   {row}")


def plot(measured: Curves, path: Path) -> None:
    """Time above, memory below, a column for each size."""
    mpl.use("agg")
    with mpl.rc_context(STYLE):
        draw(measured).savefig(path, dpi=100)


def draw(measured: Curves) -> Figure:
    """The picture."""
    options = {"sharex": "col", "sharey": "row", "layout": "constrained"}
    figure, grid = pyplot.subplots(2, len(NAMES), figsize=(16, 6), **options)
    colors = dict(zip((PRIOR, AMORTISED, LADDER), PALETTE, strict=False))
    for (axis, method), (sizes, *values) in measured.items():
        column = list(NAMES).index(axis)
        for axes, curve in zip(grid[:, column], values, strict=True):
            label = f"{method}: {slope(sizes, curve):+.2f}"
            axes.loglog(sizes, curve, "o-", color=colors[method], label=label, markersize=4)
            axes.legend(fontsize=8, frameon=False, loc="upper left")
            axes.grid(alpha=0.25, which="major")
        grid[1, column].set_xlabel(NAMES[axis])
        if sizes[-1] < 100 * sizes[0]:
            grid[1, column].set_xticks(sizes, map(str, sizes))
            grid[1, column].minorticks_off()
    for axes, name in zip(
        grid[:, 0], ("CPU time of an update, of a step (ms)", "peak memory (MiB)"), strict=True
    ):
        axes.set_ylabel(name)
        low, high = axes.get_ylim()
        # Room for the legends.
        axes.set_ylim(low, high * (high / low) ** 0.35)
    figure.suptitle("Cost of an update; beside the name of a method its exponent at large sizes")
    return figure


def main() -> None:
    """Measures all curves, prints them, and draws them if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the three smallest sizes of each")
    parser.add_argument("--plot", type=Path, help="where to save the picture")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.npy"
        write_data(file, 100_000 if arguments.quick else 1_000_000)
        # What is loaded at the first use belongs to no size.
        for method, sizes in DEFAULTS.items():
            measure(method, sizes, file)
        measured = dict(curves(file, quick=arguments.quick))
    show(measured)
    if arguments.plot:
        plot(measured, arguments.plot)


if __name__ == "__main__":
    main()
