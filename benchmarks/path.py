"""The path of the data: which files of the library an estimate and an update pass, and how often.

    python benchmarks/path.py

prints, for each trip, the files and functions it passes, its calls, its changes of file, and the
runs of model and guide; with `--files` the files, in the order in which they are first passed.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import lvkam_pyro as lv

PACKAGE = Path(lv.__file__).parent


@dataclass
class Trail:
    """The calls of the library's functions, in order."""

    calls: list[tuple[str, str]] = field(default_factory=list)

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        file = Path(frame.f_code.co_filename)
        if event == "call" and file.is_relative_to(PACKAGE):
            self.calls.append((str(file.relative_to(PACKAGE)), frame.f_code.co_qualname))

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(file for file, _ in self.calls))

    @property
    def num_changes(self) -> int:
        pairs = zip(self.calls, self.calls[1:], strict=False)
        return sum(before != after for (before, _), (after, _) in pairs)


def follow(trip: Callable[[], object]) -> Trail:
    """The path of a trip whose like was made before, so that nothing is loaded on the way."""
    trip()
    path = Trail()
    sys.setprofile(path)
    try:
        trip()
    finally:
        sys.setprofile(None)
    return path


def own_program(x: Tensor) -> None:
    """A user's own program, in which nothing is of this library."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])


def trips() -> dict[str, Callable[[], object]]:
    """The trips of a small LVKAM, and of a user's own program."""
    torch.manual_seed(0)
    model = lv.LVKAM(lv.MixturePrior(4), lv.KANGenerator(4, 8), lv.NormalLikelihood(8))
    x = torch.rand(64, 8)
    guide = lv.AmortizedGuide(model, x)
    objective = lv.EmpiricalBayes(8, sleep_weight=1.0)(model, guide)
    ladder = lv.ladder.Ladder(num_temperatures=4, num_chains=4, num_warmup=4, num_samples=4)
    estimators = [lv.evidence.Importance(256)]
    return {
        "an update (EmpiricalBayes, sleep)": lambda: objective(x).backward(),
        "Importance, prior": lambda: lv.evidence.Importance(256).estimate(model, x),
        "the same of a user's own program": lambda: lv.evidence.Importance(256).estimate(
            own_program, x
        ),
        "compare_evidence of it": lambda: lv.compare_evidence(model, x, estimators, progress=False),
        "SteppingStone (4 temperatures)": lambda: lv.evidence.SteppingStone(ladder).estimate(
            model, x
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", action="store_true", help="print the files, too")
    options = parser.parse_args()
    print(f"{'trip':<36}{'files':>7}{'functions':>11}{'calls':>8}{'changes':>9}")
    for name, trip in trips().items():
        path = follow(trip)
        functions = len(set(path.calls))
        print(
            f"{name:<36}{len(path.files):>7}{functions:>11}{len(path.calls):>8}"
            f"{path.num_changes:>9}"
        )
        if options.files:
            print("   ", "\n    ".join(path.files), sep="")


if __name__ == "__main__":
    main()
