"""One of everything that to_arviz takes, converted."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoGuide, AutoNormal
from pyro.optim import Adam
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.training.loop import Fit
from tests.checks import programs, samplers

MODEL = programs.linear_gaussian
VALUES = torch.tensor([0.3, -1.2, 0.8, 2.0, 0.1])
FEW = {"num_draws": 100}


@cache
def data() -> Tensor:
    torch.manual_seed(0)
    return programs.draw_data(3)


@cache
def ladder() -> lv.ladder.LadderSamples:
    return lv.ladder.Ladder(num_temperatures=6, num_chains=4, num_samples=60).sample(MODEL, data())


@cache
def particles() -> lv.Particles:
    torch.manual_seed(0)
    return lv.draw_particles(MODEL, programs.wide_guide, data(), num_particles=2000)


@cache
def comparison() -> lv.comparison.EvidenceComparison:
    models = {"right": MODEL, "shifted": lambda y: MODEL(y + 3)}
    estimators = [lv.evidence.Importance(512), lv.evidence.ELBO(64)]
    return lv.compare_evidence(models, data(), estimators, progress=False)


def fit() -> Fit:
    recipe = lv.Recipe(
        name="exact",
        build_guide=lambda model, x: programs.exact_guide,
        objective=lv.EmpiricalBayes(num_particles=8),
    )
    return Fit(MODEL, programs.exact_guide, recipe, [], 0)


def mcmc_of_each_datum() -> Any:
    torch.manual_seed(0)
    mean, covariance = programs.posterior_mean(data()), programs.POSTERIOR_COVARIANCE
    samples = dist.MultivariateNormal(mean, covariance).sample((4, 100))
    return samplers.sampled(MODEL, {"z": samples}, data())


def mcmc_of_all_data() -> Any:
    torch.manual_seed(0)
    samples = {"mean": samplers.draw_mean(VALUES, 4, 100)}
    return samplers.sampled(samplers.normal_mean, samples, VALUES)


def svi(model: Callable[..., object], guide: Callable[..., object]) -> SVI:
    return SVI(model, guide, Adam({"lr": 0.01}), Trace_ELBO())


def autoguide() -> AutoGuide:
    """An AutoNormal set to the posterior."""
    guide = AutoNormal(samplers.normal_mean)
    guide(VALUES)
    guide.locs.mean = VALUES.sum() / 6
    guide.scales.mean = torch.tensor(6**-0.5)
    return guide


def scalar(x: Tensor) -> None:
    """One latent and one observation a datum."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


SOURCES: dict[str, Callable[[], Any]] = {
    "model": lambda: lv.to_arviz(MODEL, data(), guide=programs.wide_guide, **FEW),
    "model, scalar": lambda: lv.to_arviz(scalar, VALUES, **FEW),
    "model, ladder": lambda: lv.to_arviz(MODEL, data(), ladder=ladder()),
    "fit": lambda: lv.to_arviz(fit(), data(), **FEW),
    "particles": lambda: lv.to_arviz(particles(), **FEW),
    "ladder": lambda: lv.to_arviz(ladder()),
    "evidence": lambda: lv.to_arviz(comparison()["right", "Importance"], **FEW),
    "comparison": lambda: lv.to_arviz(comparison(), **FEW)["right"],
    "mcmc of each datum": lambda: lv.to_arviz(mcmc_of_each_datum()),
    "mcmc of all data": lambda: lv.to_arviz(mcmc_of_all_data()),
    "dictionary": lambda: lv.to_arviz(
        {"mean": samplers.draw_mean(VALUES, 4, 100)}, VALUES, model=samplers.normal_mean
    ),
    "svi of each datum": lambda: lv.to_arviz(svi(MODEL, programs.exact_guide), data(), **FEW),
    "svi of all data": lambda: lv.to_arviz(
        svi(samplers.normal_mean, samplers.normal_mean_guide), VALUES, **FEW
    ),
    "autoguide": lambda: lv.to_arviz(autoguide(), VALUES, **FEW),
}


@cache
def converted(name: str) -> Any:
    """The object of one source, made once."""
    return SOURCES[name]()
