"""Times a KAN layer against the layers of other libraries, and counts what it keeps.

Prints ratios of CPU time, higher being faster, each the median over alternating blocks of the two
layers: a ratio within one run counts, a time does not. The last table has the memory kept for the
backward pass, ours over theirs, where lower is better. Run with one thread:

    OMP_NUM_THREADS=1 python benchmarks/kan_functions.py
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from kan_peers import CoxDeBoorLayer, PykanLayer, RadialLayer, has_pykan, perceptron
from torch import Tensor, nn

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.layer import KANLayer

SHAPES = ((64, 64), (20, 41), (41, 196), (40, 784))
GRID_SIZES = (5, 10, 20)
BATCH_SIZE = 1024
BLOCK_SECONDS = 0.01
"""Quick calls are repeated until a block lasts about this long."""

Call = Callable[[], object]
Form = Callable[..., Tensor]


@dataclass(frozen=True)
class Cell:
    """One shape and grid, a row of the tables, with its inputs and layers."""

    in_features: int
    out_features: int
    grid_size: int

    def __str__(self) -> str:
        return f"{self.in_features}x{self.out_features}, grid {self.grid_size}"

    def ours(self) -> KANLayer:
        return KANLayer(
            self.in_features, self.out_features, basis=BSplineBasis(grid_size=self.grid_size)
        )

    def cox_de_boor(self) -> CoxDeBoorLayer:
        equal = torch.linspace(0, 1, self.grid_size + 1).expand(self.in_features, -1)
        return CoxDeBoorLayer(equal, self.out_features)

    def adaptive(self) -> tuple[CoxDeBoorLayer, KANLayer]:
        """Both with the same knots, whose cells differ by a factor of up to 5."""
        widths = 0.25 + torch.rand(self.in_features, self.grid_size)
        edges = nn.functional.pad(widths.cumsum(-1), (1, 0))
        knots = edges / edges[:, -1:]
        ours = KANLayer(self.in_features, self.out_features, basis=NonUniformBSplineBasis(knots))
        return CoxDeBoorLayer(knots, self.out_features), ours

    def radial(self) -> RadialLayer:
        return RadialLayer(self.in_features, self.out_features, num_functions=self.grid_size + 3)

    def pykan(self) -> PykanLayer:
        return PykanLayer(self.in_features, self.out_features, grid_size=self.grid_size)

    def perceptron(self) -> nn.Module:
        num_parameters = self.ours().coefficients.numel()
        return perceptron(self.in_features, self.out_features, num_parameters=num_parameters)

    def inputs(self) -> Tensor:
        return torch.rand(BATCH_SIZE, self.in_features, requires_grad=True)

    def index(self) -> Tensor:
        return torch.randint(self.out_features, (BATCH_SIZE, self.in_features))


def training(form: Form, layer: nn.Module, *arguments: Tensor) -> Call:
    """The form forward, and backward to the layer's parameters and its inputs."""
    wanted = [p for p in (*layer.parameters(), arguments[0]) if p.requires_grad]
    upstream = torch.randn_like(form(*arguments))
    return lambda: torch.autograd.grad(form(*arguments), wanted, upstream)


def inference(form: Form, *arguments: Tensor) -> Call:
    """The form forward only."""
    return torch.no_grad()(lambda: form(*arguments))


def summed(cell: Cell, theirs: nn.Module, ours: nn.Module) -> tuple[Call, Call]:
    z = cell.inputs()
    return training(theirs, theirs, z), training(ours, ours, z)


def without_gradient(cell: Cell) -> tuple[Call, Call]:
    z = cell.inputs()
    return inference(cell.cox_de_boor(), z), inference(cell.ours(), z)


def unsummed(cell: Cell) -> tuple[Call, Call]:
    theirs, ours, z = cell.cox_de_boor(), cell.ours(), cell.inputs()
    return training(theirs.unsummed, theirs, z), training(ours.unsummed, ours, z)


def selected(cell: Cell) -> tuple[Call, Call]:
    theirs, ours, z, index = cell.cox_de_boor(), cell.ours(), cell.inputs(), cell.index()
    return training(theirs.selected, theirs, z, index), training(ours.selected, ours, z, index)


TIMED: dict[str, Callable[[Cell], tuple[Call, Call]]] = {
    "summed": lambda cell: summed(cell, cell.cox_de_boor(), cell.ours()),
    "no grad": without_gradient,
    "unsummed": unsummed,
    "selected": selected,
    "adaptive": lambda cell: summed(cell, *cell.adaptive()),
    "RBF": lambda cell: summed(cell, cell.radial(), cell.ours()),
    "MLP": lambda cell: summed(cell, cell.perceptron(), cell.ours()),
    "pykan": lambda cell: summed(cell, cell.pykan(), cell.ours()),
}


def kept_bytes(layer: nn.Module, z: Tensor) -> int:
    """What autograd keeps for the backward pass, without parameters, buffers and the inputs."""
    own = (*layer.parameters(), *layer.buffers(), z)
    known = {tensor.untyped_storage().data_ptr() for tensor in own}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        value = layer(z)
    assert value.grad_fn is not None
    return sum(kept[p].untyped_storage().nbytes() for p in kept.keys() - known)


def memory_ratio(cell: Cell) -> float:
    z = cell.inputs()
    return kept_bytes(cell.ours(), z) / kept_bytes(cell.cox_de_boor(), z)


def cpu_time(call: Call, repeats: int) -> float:
    start = time.process_time()
    for _ in range(repeats):
        call()
    return time.process_time() - start


def time_ratio(slow: Call, fast: Call, num_blocks: int) -> float:
    """The median over alternating blocks, after one of each to warm up."""
    repeats = [1 + int(BLOCK_SECONDS / max(cpu_time(c, 2) / 2, 1e-5)) for c in (slow, fast)]
    times = (
        (cpu_time(slow, repeats[0]) / repeats[0], cpu_time(fast, repeats[1]) / repeats[1])
        for _ in range(num_blocks)
    )
    return statistics.median(a / b for a, b in times)


def print_table(columns: dict[str, Callable[[Cell], float]], extreme: Callable[..., float]) -> None:
    """One row a cell, then the geometric means and the worst cells."""
    print(f"{'':<18}" + "".join(f"{name:>10}" for name in columns))
    rows = []
    for shape, grid_size in itertools.product(SHAPES, GRID_SIZES):
        cell = Cell(*shape, grid_size)
        rows.append([column(cell) for column in columns.values()])
        print_row(str(cell), rows[-1])
    by_column = list(zip(*rows, strict=True))
    print_row("geometric mean", [math.exp(statistics.fmean(map(math.log, c))) for c in by_column])
    print_row("worst", [extreme(c) for c in by_column])


def print_row(name: str, values: list[float]) -> None:
    print(f"{name:<18}" + "".join(f"{value:>10.2f}" for value in values), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, default=9)
    parser.add_argument("--columns", nargs="*", choices=TIMED, default=list(TIMED))
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    names = [name for name in options.columns if name != "pykan" or has_pykan()]
    if not has_pykan():
        print("pykan is not installed (the extra [benchmarks]): its column is left out.")
    print("CPU time of the other layer over that of KANLayer")
    print_table({name: ratio_of(TIMED[name], options.blocks) for name in names}, min)
    print("\nMemory kept for the backward pass, KANLayer over Cox-de Boor")
    print_table({"summed": memory_ratio}, max)


def ratio_of(
    calls: Callable[[Cell], tuple[Call, Call]], num_blocks: int
) -> Callable[[Cell], float]:
    return lambda cell: time_ratio(*calls(cell), num_blocks)


if __name__ == "__main__":
    main()
