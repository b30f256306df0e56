"""Times the search for the formula of a learned function, also against pykan where it is installed.

Prints the CPU time per function over all forms of the library and, with pykan, the ratio on the
same functions, higher being faster for us: the median over functions, each timed in turn. pykan
searches its own forms, 25 in version 0.2.8, so the ratio is per function, not per form.

    OMP_NUM_THREADS=1 python benchmarks/symbolic.py
"""

import contextlib
import importlib
import io
import statistics
import time
from collections.abc import Callable
from functools import partial
from types import ModuleType

import torch
from torch import Tensor

from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.symbolic.fit import fit_symbolic
from lvkam_pyro.kan.symbolic.forms import FORMS
from lvkam_pyro.kan.symbolic.layer_fit import fit_symbolic_layer

SHAPES = ((1, 1), (4, 4), (16, 64))
NUM_BLOCKS = 5
NUM_SAMPLES = 1000
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "sin": lambda z: torch.sin(3 * z + 0.5),
    "gaussian": lambda z: torch.exp(-((2 * z - 0.4) ** 2)),
    "log": lambda z: torch.log(z + 1.5),
}


def cpu_time(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def print_layers() -> None:
    for shape in SHAPES:
        layer = KANLayer(*shape, basis=BSplineBasis(grid_size=8))
        times = [cpu_time(partial(fit_symbolic_layer, layer)) for _ in range(NUM_BLOCKS)]
        per_function = statistics.median(times) / (shape[0] * shape[1])
        print(f"layer {shape[0]} x {shape[1]}: {per_function * 1e3:.1f} ms CPU a function")


def find_with_pykan(kan: ModuleType, values: Tensor, z: Tensor) -> Callable[[], str]:
    """The search of pykan's `fit_params` over its forms, on the samples of one function."""

    def find() -> str:
        best, best_r_squared = "", -1.0
        with contextlib.redirect_stdout(io.StringIO()):
            for name, (function, *_) in kan.utils.SYMBOLIC_LIB.items():
                _, r_squared = kan.utils.fit_params(z, values, function, verbose=False)
                if float(r_squared) > best_r_squared:
                    best, best_r_squared = name, float(r_squared)
        return best

    return find


def print_peer(kan: ModuleType) -> None:
    z = torch.linspace(-1, 1, NUM_SAMPLES)
    ratios = []
    for name, function in FUNCTIONS.items():
        values = function(z)
        ours = cpu_time(partial(fit_symbolic, values, z))
        peer = cpu_time(find_with_pykan(kan, values, z))
        ratios.append(peer / ours)
        print(f"{name:10s} ours {ours:6.3f} s, pykan {peer:6.2f} s: {ratios[-1]:.0f} x")
    print(f"median: {statistics.median(ratios):.0f} x faster than pykan")


def main() -> None:
    torch.manual_seed(0)
    print(f"{len(FORMS)} forms, {torch.get_num_threads()} thread")
    fit_symbolic(torch.sin, torch.linspace(0, 1, 100))
    print_layers()
    try:
        kan = importlib.import_module("kan")
        importlib.import_module("kan.utils")
    except ImportError:
        print("pykan is not installed: pip install 'lvkam-pyro[benchmarks]'")
    else:
        print_peer(kan)


if __name__ == "__main__":
    main()
