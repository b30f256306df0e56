"""Trainings in several processes that this one forks: modules are imported once for all of them.

Run by test_processes.py in a process of its own. It writes down what came out of each training, in
several processes and in one: weights and metrics, or the error that ended it.
"""

import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule
from torch import Tensor, distributed, nn

import lvkam_pyro as lv
from lvkam_pyro.tracing.arguments import hash_data
from lvkam_pyro.training.loop import Fit, fit
from tests.training.toy import FactorModel, toy_data, toy_recipe

TIMEOUT = timedelta(seconds=60)
X = toy_data(75, 3).double()
NUM_SEEDS = 16


class Located(PyroModule):
    """x = m + z + noise, both of them standard normal: log p(x) is that of Normal(m, sqrt(2))."""

    def __init__(self, plate_size: int | None = None) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(3))
        self.plate_size = plate_size

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", self.plate_size or len(x), len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.loc + z, 1.0).to_event(1), obs=x)


class Posterior(PyroModule):
    """The exact posterior of `Located`: whatever is drawn, the loss is the evidence."""

    def __init__(self, model: Located) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", self.model.plate_size or len(x), len(x)):
            mean = (x - self.model.loc) / 2
            pyro.sample("z", dist.Normal(mean, 0.5**0.5).to_event(1))


class Wide(PyroModule):
    """A guess at the posterior, which leaves the gradient noisy and its mean true."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x - X.mean(0), 1.0).to_event(1))


def amortized(**options: Any) -> lv.Recipe:
    settings = {
        "build_guide": lambda model, x: lv.AmortizedGuide(model, x, hidden=(4,)).double(),
        "objective": lv.EmpiricalBayes(4, sleep_weight=0.5),
        "num_epochs": 6,
        "max_gradient_norm": 5.0,
        "regularizer": lv.training.Smoothness(1.0),
    }
    return toy_recipe(**{**settings, **options})


def lvkam() -> lv.LVKAM:
    basis = lv.BSplineBasis(grid_size=4)
    return lv.LVKAM(
        lv.MixturePrior(2, num_components=2, basis=basis),
        lv.KANGenerator(2, 3, basis=basis),
        lv.NormalLikelihood(3, scale=0.5),
    ).double()


def everything(**options: Any) -> Fit:
    """A start, a learned prior, an encoder with dreams, moving grids, early stopping."""
    recipe = amortized(
        start=lv.training.start_additive,
        grid_updates=lv.training.GridUpdates(
            schedule=lv.kan.GridSchedule(every=2), move_prior=True
        ),
        early_stopping=lv.training.EarlyStopping(patience=None),
    )
    return fit(lvkam(), X[:60], recipe, x_validation=X[60:], x_test=X[60:], **options)


def without_noise(**options: Any) -> Fit:
    """A loss that no draw changes, for a plate of 1000 data, in batches of 37, 37 and 1.

    Of the last batch there is no datum left for the other processes.
    """
    recipe = toy_recipe(
        build_guide=lambda model, x: Posterior(model),
        batch_size=37,
        max_gradient_norm=0.3,
        regularizer=lambda model: model.loc.square().sum(),
    )
    return fit(Located(1000).double(), X, recipe, x_test=X[:7], **options)


TRAININGS = {each.__name__: each for each in (everything, without_noise)}


def train(name: str, **options: Any) -> Fit:
    torch.manual_seed(0)
    return TRAININGS[name](progress=False, **options)


def noisy(seed: int) -> list[float]:
    """The location of one training and its last loss."""
    recipe = toy_recipe(
        build_guide=lambda model, x: Wide(),
        objective=Trace_ELBO(),
        num_epochs=60,
        batch_size=25,
        learning_rate=0.1,
    )
    fitted = fit(Located().double(), X, recipe, progress=False, seed=seed)
    return [*fitted.model.loc.tolist(), fitted.metrics[-1]["loss_per_datum"]]


def noisy_fits(rank: int = 0) -> Tensor:
    """One row a seed."""
    return torch.tensor([noisy(seed) for seed in range(NUM_SEEDS)], dtype=torch.float64)


def own_draws(rank: int) -> list[float]:
    """A random value of every update of this process."""
    drawn: list[float] = []

    def record(model: nn.Module) -> Tensor:
        drawn.append(float(torch.rand(())))
        return torch.zeros(())

    fit(FactorModel(), toy_data(), toy_recipe(regularizer=record), progress=False)
    return drawn


def result_of(fitted: Fit) -> dict[str, object]:
    modules = nn.ModuleList([m for m in (fitted.model, fitted.guide) if isinstance(m, nn.Module)])
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.metrics]
    return {"weights": modules.state_dict(), "metrics": metrics}


def digest(result: dict[str, Any]) -> str:
    """Equal for results that are equal bit for bit."""
    weights = torch.cat([each.reshape(-1).double() for each in result["weights"].values()])
    return f"{hash_data(weights)} {result['metrics']!r}"


def in_processes(num: int, folder: Path, job: Callable[[int], object]) -> list[Any]:
    """The values that a job returned in several processes, or its error's name and text."""
    folder.mkdir()
    children = [_fork(rank, num, folder, job) for rank in range(num)]
    for child in children:
        os.waitpid(child, 0)
    files = [folder / f"{rank}.pt" for rank in range(num)]
    return [torch.load(each) if each.exists() else None for each in files]


def _fork(rank: int, num: int, folder: Path, job: Callable[[int], object]) -> int:
    child = os.fork()
    if child:
        return child
    # A process that hangs ends by itself.
    signal.alarm(100)
    try:
        torch.save(_attempt(rank, num, folder, job), folder / f"{rank}.pt")
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def _attempt(rank: int, num: int, folder: Path, job: Callable[[int], object]) -> object:
    store = f"file://{folder}/store"
    distributed.init_process_group(
        "gloo", init_method=store, rank=rank, world_size=num, timeout=TIMEOUT
    )
    try:
        return job(rank)
    except (Exception, KeyboardInterrupt) as error:
        return type(error).__name__, str(error)


class Ends:
    """A regulariser that ends its process, or does something else, at one update."""

    def __init__(self, update: int, action: Callable[[], object]) -> None:
        self.calls = iter(range(10**6))
        self.update = update
        self.action = action

    def __call__(self, model: object) -> Tensor:
        if next(self.calls) == self.update:
            self.action()
        return torch.zeros((), dtype=torch.float64)


def stopped(
    folder: Path | None, rank: int = 0, end: Callable[[], object] = int, **options: Any
) -> Fit:
    """A training of 12 updates in 6 epochs; in the second process something happens in the 8th."""
    recipe = amortized(regularizer=Ends(7, end) if rank == 1 else Ends(7, int), batch_size=40)
    torch.manual_seed(0)
    return fit(lvkam(), X, recipe, folder=folder, progress=False, **options)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def data_of(rank: int) -> Fit:
    """Another datum in each process."""
    return fit(FactorModel(), toy_data()[rank:], toy_recipe(), progress=False)


def diverging(rank: int) -> Fit:
    """A datum, in the second half of the only batch, that overflows float32."""
    torch.manual_seed(0)
    x = toy_data()
    last = torch.randperm(40, generator=torch.Generator().manual_seed(0))[-1]
    x[last] = 3e38
    return fit(FactorModel(), x, toy_recipe(batch_size=40), progress=False)


def start_of(rank: int) -> Fit:
    """Other first parameters in each process."""
    torch.manual_seed(rank)
    return fit(FactorModel(), toy_data(), toy_recipe(), progress=False)


def chains(rank: int) -> Fit:
    """A guide whose chains go on from update to update."""
    recipe = amortized(build_guide=lambda model, x: lv.guides.NUTSGuide(model))
    return fit(lvkam(), X, recipe, progress=False)


def counting(rank: int) -> Fit:
    """A model with a buffer that the data change."""

    class Counting(FactorModel):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("total", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.total += x.sum()
            return super().forward(x)

    return fit(Counting(), toy_data(), toy_recipe(), progress=False)


def other_result(job: Callable[[int], Fit]) -> Callable[[int], str]:
    return lambda rank: digest(result_of(job(rank)))


def shared(num: int, names: list[str], folder: Path) -> list[dict[str, Any]]:
    """Trainings in several processes: what each of them ends with."""

    def job(rank: int) -> dict[str, object]:
        return {name: result_of(train(name, folder=folder / f"{num} {name}")) for name in names}

    return in_processes(num, folder / f"in {num}", job)


def ended(name: str, end: Callable[[], object], folder: Path) -> dict[str, object]:
    """The files that are left of a training whose second process ends in epoch 4."""
    run = folder / f"run {name}"
    ends = in_processes(2, folder / name, lambda rank: stopped(run, rank, end))
    return {"ends": ends, "rows": len((run / "metrics.csv").read_text().splitlines()) - 1}


def resumed(num: int, name: str, folder: Path) -> dict[str, object]:
    """A training that ended, gone on with in one process or several."""
    run = folder / f"run {name}"
    if num == 1:
        return result_of(stopped(run, resume=True))
    job = in_processes(num, folder / f"{name} 2", lambda rank: result_of(stopped(run, resume=True)))
    return dict(job[0])


def quick(folder: Path) -> Iterator[tuple[str, object]]:
    """The results of the trainings that are tested always, by name."""
    yield "in 1", {name: result_of(train(name)) for name in TRAININGS}
    yield "in 2", shared(2, list(TRAININGS), folder)
    yield "noisy in 1", noisy_fits()
    yield "noisy in 2", in_processes(2, folder / "noisy", noisy_fits)
    yield "own_draws", in_processes(2, folder / "own", own_draws)
    yield "killed", ended("killed", kill, folder)
    yield "resumed", {"killed in 1": resumed(1, "killed", folder)}


def thorough(folder: Path) -> Iterator[tuple[str, object]]:
    """The results of all others, by name."""
    yield "in 1", {name: result_of(train(name)) for name in TRAININGS}
    yield "in 3", shared(3, list(TRAININGS), folder)
    whole = in_processes(2, folder / "whole", lambda rank: result_of(stopped(None)))
    yield "uninterrupted", whole[0]
    ends = {"killed": kill, "interrupted": interrupt, "terminated": terminate}
    for name, end in ends.items():
        yield name, ended(name, end, folder)
    yield "resumed", {f"{name} in 2": resumed(2, name, folder) for name in ends}
    for job in (data_of, diverging, start_of, chains, counting):
        yield job.__name__, in_processes(2, folder / job.__name__, other_result(job))


def main(kind: str, folder: Path) -> None:
    report = {"quick": quick, "thorough": thorough}[kind](folder)
    torch.save(dict(report), folder / "report.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
