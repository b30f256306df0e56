"""Trainings in several processes that this one forks: modules are imported once for all of them.

Run by test_distributed.py in a process of its own. It writes down what came out of each training,
in several processes and in one: weights and metrics, or the error that ended it.
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
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, distributed, nn

import lvkam_pyro as lv
from lvkam_pyro.tracing.arguments import hash_data
from lvkam_pyro.training.loop import Fit, fit
from tests.training.toy import FactorModel, toy_data, toy_recipe

TIMEOUT = timedelta(seconds=60)
X = toy_data(75, 3).double()


class Counts(PyroModule):
    """Counts, whose dreams take a number of random numbers that depends on the rates."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            rate = self.linear(z).exp().clamp(max=30.0)
            return pyro.sample("x", dist.Poisson(rate).to_event(1), obs=x)


class Scaled(FactorModel):
    """The toy model, whose plate stands for 1000 data, with a draw that all data share."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", 1000, len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            jitter = 1e-2 * torch.randn(3, dtype=x.dtype)
            law = dist.Normal(self.linear(z) + jitter, self.scale).to_event(1)
            return pyro.sample("x", law, obs=x)


class ScaledEncoder(PyroModule):
    """q(z | x) = Normal(A x, s), for a plate of 1000 data."""

    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 2)
        self.spread = PyroParam(torch.ones(2), dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", 1000, len(x)):
            pyro.sample("z", dist.Normal(self.encode(x), self.spread).to_event(1))


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
    """Learned prior, encoder with dreams, clipping, a regulariser, moving grids, early stopping."""
    recipe = amortized(
        grid_updates=lv.training.GridUpdates(
            schedule=lv.kan.GridSchedule(every=2), move_prior=True
        ),
        early_stopping=lv.training.EarlyStopping(patience=None),
    )
    return fit(lvkam(), X[:60], recipe, x_validation=X[60:], x_test=X[60:], **options)


def prior_particles(**options: Any) -> Fit:
    """Particles that all data share, drawn outside of the data plate."""
    recipe = amortized(build_guide=lambda model, x: lv.PriorGuide(model), num_epochs=3)
    return fit(lvkam(), X, recipe, x_test=X, **options)


def counts(**options: Any) -> Fit:
    """Dreams of counts, whose random numbers depend on parameters of all processes."""
    recipe = amortized(regularizer=None, num_epochs=3)
    return fit(Counts().double(), X.abs().round(), recipe, **options)


def scaled(**options: Any) -> Fit:
    """Pyro's own objective, a plate of another size than the data, batches of 25, 25, 25."""
    recipe = toy_recipe(build_guide=lambda model, x: ScaledEncoder().double(), batch_size=25)
    return fit(Scaled().double(), X, recipe, **options)


def single(**options: Any) -> Fit:
    """Batches whose last has one datum: there is none left for the other processes."""
    recipe = toy_recipe(build_guide=lambda model, x: ScaledEncoder().double(), batch_size=37)
    return fit(Scaled().double(), X, recipe, **options)


TRAININGS = {each.__name__: each for each in (everything, prior_particles, counts, scaled, single)}


def train(name: str, **options: Any) -> Fit:
    torch.manual_seed(0)
    return TRAININGS[name](progress=False, **options)


def result_of(fitted: Fit) -> dict[str, object]:
    modules = nn.ModuleList([m for m in (fitted.model, fitted.guide) if isinstance(m, nn.Module)])
    metrics = [{k: v for k, v in row.items() if k != "seconds"} for row in fitted.metrics]
    return {"weights": modules.state_dict(), "metrics": metrics}


def digest(result: dict[str, Any]) -> str:
    """Equal for results that are equal bit for bit."""
    weights = torch.cat([each.reshape(-1).double() for each in result["weights"].values()])
    return f"{hash_data(weights)} {result['metrics']!r}"


def in_processes(num: int, folder: Path, job: Callable[[int], object]) -> list[Any]:
    """What a job returned, or raised as its name and text, in each of several processes."""
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


def random_by_itself(rank: int) -> Fit:
    """A model that draws other numbers in each process."""
    recipe = toy_recipe(regularizer=Ends(1, lambda: torch.rand(1 + rank)))
    return fit(FactorModel(), toy_data(), recipe, progress=False)


def other_result(job: Callable[[int], Fit]) -> Callable[[int], str]:
    return lambda rank: digest(result_of(job(rank)))


def shared(num: int, names: list[str], folder: Path) -> list[dict[str, Any]]:
    """Trainings in several processes: what each of them ends with."""

    def job(rank: int) -> dict[str, object]:
        return {name: result_of(train(name, folder=folder / f"{num} {name}")) for name in names}

    return in_processes(num, folder / f"in {num}", job)


def ended(name: str, end: Callable[[], object], folder: Path) -> dict[str, object]:
    """What is left of a training whose second process ends in epoch 4."""
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
    """What came out of the trainings that are tested always, by name."""
    names = ["everything", "counts", "single"]
    yield "in 1", {name: result_of(train(name)) for name in names}
    yield "in 2", shared(2, names, folder)
    yield "uninterrupted", result_of(stopped(None))
    yield "killed", ended("killed", kill, folder)
    yield "resumed", {"killed in 1": resumed(1, "killed", folder)}
    yield "random_by_itself", in_processes(2, folder / "r", other_result(random_by_itself))


def thorough(folder: Path) -> Iterator[tuple[str, object]]:
    """What came out of all others, by name."""
    yield "in 1", {name: result_of(train(name)) for name in TRAININGS}
    yield "in 2", shared(2, ["prior_particles", "scaled"], folder)
    yield "in 3", shared(3, list(TRAININGS), folder)
    yield "uninterrupted", result_of(stopped(None))
    yield "killed", ended("killed", kill, folder)
    yield "interrupted", ended("interrupted", interrupt, folder)
    names = ("killed", "interrupted")
    yield "resumed", {f"{name} in 2": resumed(2, name, folder) for name in names}
    for job in (data_of, diverging, start_of, chains):
        yield job.__name__, in_processes(2, folder / job.__name__, other_result(job))


def main(kind: str, folder: Path) -> None:
    report = {"quick": quick, "thorough": thorough}[kind](folder)
    torch.save(dict(report), folder / "report.pt")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
