"""Failures inside a user's program are explained: its site, its latents, and what to do."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv

X = torch.tensor([0.3, -1.2, 2.2, 0.9, -0.4])


def improper(x: Tensor) -> None:
    mean = pyro.sample("mean", dist.ImproperUniform(dist.constraints.real, (), ()))
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(mean, 1.0), obs=x)


def improper_events(x: Tensor) -> None:
    prior = dist.ImproperUniform(dist.constraints.real, (3,), ()).to_event(1)
    weights = pyro.sample("weights", prior)
    with pyro.plate("data", len(x)):
        pyro.sample("x", dist.Normal(weights[..., 0], 1.0), obs=x)


def plate_of_another_size(x: Tensor) -> None:
    with pyro.plate("data", 7):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def always_nan(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("penalty", torch.where(z > -9.0, torch.nan, z))


def sometimes_nan(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.factor("penalty", torch.where(z > 2.5, torch.nan, -(z - x).square()))


def unchecked_nan(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        scale = torch.where(z > 2.0, torch.nan, 1.0)
        pyro.sample("x", dist.Normal(z, scale, validate_args=False), obs=x)


REFUSED: dict[str, tuple[Callable[[Tensor], None], str]] = {
    "an improper prior": (improper, "site 'mean' has an improper prior, with which the evidence"),
    "an improper prior of events": (improper_events, "site 'weights' has an improper prior"),
    "a plate of a fixed size": (plate_of_another_size, r"own arguments of shapes \[\(5,\)\]"),
    "a density that is always NaN": (always_nan, "site 'penalty' is NaN at 100.0% .* at z = "),
}


@pytest.mark.parametrize("case", REFUSED)
def test_program_without_an_evidence_is_refused(case: str) -> None:
    model, match = REFUSED[case]
    with pytest.raises(ValueError, match=match):
        lv.bind(model, X)


def test_program_whose_prior_changes_from_run_to_run_is_refused() -> None:
    runs = []

    def model(x: Tensor) -> None:
        runs.append(len(x))
        prior = dist.Normal(0.0, 1.0) if len(runs) % 2 else dist.LogNormal(0.0, 1.0)
        mean = pyro.sample("mean", prior)
        with pyro.plate("data", len(x)):
            pyro.sample("x", dist.Normal(mean, 1.0), obs=x)

    with pytest.raises(ValueError, match="not a function of its latents"):
        lv.bind(model, X)


@pytest.mark.parametrize("estimator", [lv.evidence.Importance(), lv.evidence.TemperedSMC()])
def test_density_that_pyro_finds_to_be_nan_is_explained(estimator: lv.evidence.Estimator) -> None:
    with pytest.raises(ValueError, match=r"'penalty' is NaN at .*%.*Return -inf") as raised:
        estimator.estimate(sometimes_nan, X)
    assert float(str(raised.value).split("z = ")[1].split(".")[0]) >= 2


@pytest.mark.parametrize(
    "estimator",
    [
        lv.evidence.Importance(),
        lv.evidence.SteppingStone(),
        lv.evidence.TemperedSMC(),
        lv.evidence.Bridge(4000),
    ],
)
def test_density_that_is_nan_unseen_is_flagged_and_explained(
    estimator: lv.evidence.Estimator,
) -> None:
    evidence = estimator.estimate(unchecked_nan, X)
    assert bool(evidence.verdict.unreliable.all())
    assert any("'x' is NaN at" in reason for reason in evidence.verdict.reasons)
