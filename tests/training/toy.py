"""A small hand-written Pyro model, its guide and a recipe: training needs nothing of LVKAM."""

from csv import DictReader
from pathlib import Path

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from lvkam_pyro.training.loop import Fit, fit
from lvkam_pyro.training.recipe import Recipe


class FactorModel(PyroModule):
    """x = W z + b + noise, with z ~ Normal(0, 1) in two dimensions."""

    def __init__(self, num_outputs: int = 3) -> None:
        super().__init__()
        self.linear = nn.Linear(2, num_outputs)
        self.scale = PyroParam(torch.full((num_outputs,), 0.5), dist.constraints.positive)

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(self.linear(z), self.scale).to_event(1), obs=x)


class Encoder(PyroModule):
    """q(z | x) = Normal(A x + c, s)."""

    def __init__(self, num_outputs: int = 3) -> None:
        super().__init__()
        self.encode = nn.Linear(num_outputs, 2)
        self.spread = PyroParam(torch.ones(2), dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encode(x), self.spread).to_event(1))


def toy_recipe(**changes: object) -> Recipe:
    settings = {
        "name": "toy",
        "build_guide": lambda model, x: Encoder(x.shape[1]),
        "objective": Trace_ELBO(),
        "num_epochs": 4,
        "batch_size": 16,
        "learning_rate": 0.05,
        "guide_learning_rate": 0.1,
    }
    return Recipe(**{**settings, **changes})


def toy_data(num_data: int = 40, num_outputs: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(2, num_outputs, generator=generator)
    z = torch.randn(num_data, 2, generator=generator)
    return z @ weight + 0.3 * torch.randn(num_data, num_outputs, generator=generator) + 1.0


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def toy_model(seed: int = 0) -> FactorModel:
    torch.manual_seed(seed)
    return FactorModel()


def toy_fit(model: FactorModel | None = None, **options: object) -> Fit:
    recipe = options.pop("recipe", None) or toy_recipe()
    return fit(model or toy_model(), toy_data(), recipe, progress=False, **options)


def assert_same_weights(first: Fit, second: Fit) -> None:
    # Guides without parameters are no modules.
    modules = ("model", "guide") if isinstance(first.guide, nn.Module) else ("model",)
    for name in modules:
        a, b = getattr(first, name).state_dict(), getattr(second, name).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), f"the {name}s differ"


def stop_at(epoch: int, error: type[BaseException]) -> object:
    """A regularizer that raises in the second batch of an epoch of three batches."""
    calls = iter(range(10**6))

    def regularizer(model: object) -> Tensor:
        if next(calls) == 3 * (epoch - 1) + 1:
            raise error("stopped by the test")
        return torch.zeros(())

    return regularizer


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """The rows of `metrics.csv`, bit for bit."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        return [{key: float(value) for key, value in row.items()} for row in DictReader(file)]
