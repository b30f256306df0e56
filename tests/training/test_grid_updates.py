"""Grids that follow the posterior: the right draws, at the right epochs, resumed bit for bit."""

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule
from torch import Tensor

from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.kan.bases.bspline import BSplineBasis
from lvkam_pyro.kan.bases.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.bases.radial import RBFBasis
from lvkam_pyro.kan.grids.grid import GridUpdate
from lvkam_pyro.kan.grids.grid_schedule import GridSchedule
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.likelihoods.normal import NormalLikelihood
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generators import KANGenerator, MixtureOfExperts
from lvkam_pyro.modules.priors import MixturePrior
from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.training.grid_updates import GridUpdates, networks_of, record_inputs
from lvkam_pyro.training.loop import Fit, fit, load_fit
from lvkam_pyro.training.objective import EmpiricalBayes
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.checkpoint import CheckpointError
from tests.training.toy import assert_same_weights, stop_at, toy_data, toy_fit, toy_recipe

EVERY_SECOND = GridUpdates(schedule=GridSchedule(every=2, decay=1.0), ratio=0.3, num_particles=4)


def make_model(seed: int = 0, **options: object) -> LVKAM:
    torch.manual_seed(seed)
    generator = KANGenerator(2, 3, hidden=[4], basis=BSplineBasis(grid_size=5), **options)
    return LVKAM(MixturePrior(2), generator, NormalLikelihood(3))


def make_recipe(**changes: object) -> Recipe:
    settings = {
        "build_guide": lambda model, x: AmortizedGuide(model, x, hidden=(8,)),
        "objective": EmpiricalBayes(num_particles=4),
        "grid_updates": EVERY_SECOND,
        "num_epochs": 5,
    }
    return toy_recipe(**{**settings, **changes})


def train(model: LVKAM | None = None, **options: object) -> Fit:
    recipe = options.pop("recipe", None) or make_recipe()
    return fit(model or make_model(), toy_data(), recipe, progress=False, **options)


def breakpoints(model: LVKAM) -> list[Tensor]:
    return [layer.basis.breakpoints.clone() for layer in model.generator.layers]


class OneLatent(PyroModule):
    """x = z + noise with one latent on [0, 1] under a KAN, whose posterior is known."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.network = KAN([1, 1], basis=BSplineBasis(grid_size=8), base_activation=None)
        self.noise = noise
        with torch.no_grad():
            line = (torch.arange(11.0) - 1) / 8
            self.network.layers[0].coefficients.copy_(line.view(1, -1, 1))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Uniform(x.new_zeros(1), x.new_ones(1)).to_event(1))
            loc = self.network(z)
            return pyro.sample("x", dist.Normal(loc, self.noise).to_event(1), obs=x)


def test_grids_follow_the_posterior_and_not_the_guide() -> None:
    model = OneLatent(noise=0.02)
    x = 0.3 + 0.1 * torch.rand(200, 1)
    updates = GridUpdates(schedule=GridSchedule(every=1), ratio=0.1, num_particles=4000)
    updates.move([bind(model, part) for part in x.split(50)], PriorGuide(model))
    inner = model.network.layers[0].basis.breakpoints[0, 1:-1].double()
    levels = torch.arange(1, 8).double() / 8
    # Each posterior is Normal(x, 0.02), cut nowhere near: their mixture's quantiles.
    points = torch.linspace(0, 1, 4001).double()
    cdf = dist.Normal(x.double(), 0.02).cdf(points).mean(0)
    quantiles = points[torch.searchsorted(cdf, levels)]
    # The data of a batch share 4000 draws of the prior, of which 0.14 matter: with the density 8
    # of the mixture, sd sqrt(1/4 / 2240) / 8 = 0.0013, times 5.
    torch.testing.assert_close(inner, 0.1 * levels + 0.9 * quantiles, rtol=0, atol=6.6e-3)


def test_scheduled_epochs_alone_move_grids() -> None:
    seen: list[list[Tensor]] = []

    def watch(model: LVKAM) -> Tensor:
        seen.append(breakpoints(model))
        return torch.zeros(())

    result = train(recipe=make_recipe(regularizer=watch))
    after = [seen[3 * epoch] for epoch in range(5)] + [breakpoints(result.model)]
    changed = [
        not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip(*pair, strict=True))
        for pair in pairwise(after)
    ]
    assert changed == [False, True, False, True, False]
    errors = [row["grid_error"] for row in result.metrics]
    assert [error > 0 for error in errors] == changed
    assert max(errors) < 0.5


def test_draws_are_made_in_evaluation_mode_and_training_goes_on_in_its_own() -> None:
    modes: list[bool] = []

    class Watching(GridUpdates):
        def move(
            self, programs: list[BoundProgram], *args: object, **options: object
        ) -> list[GridUpdate]:
            modes.append(programs[0].model.training)
            return super().move(programs, *args, **options)

    def watch(model: LVKAM) -> Tensor:
        modes.append(model.training)
        return torch.zeros(())

    updates = Watching(schedule=GridSchedule(every=1, decay=1.0), num_particles=4)
    train(recipe=make_recipe(grid_updates=updates, regularizer=watch, num_epochs=2))
    assert modes == [True, True, True, False] * 2


def test_every_layer_moves_and_the_prior_stays() -> None:
    model = make_model()
    before = model.prior.functions.basis
    train(model)
    assert all(isinstance(layer.basis, NonUniformBSplineBasis) for layer in model.generator.layers)
    assert model.prior.functions.basis is before


def make_gated(seed: int = 0) -> LVKAM:
    torch.manual_seed(seed)
    basis = BSplineBasis(grid_size=5)
    return LVKAM(
        MixturePrior(2, basis=basis), MixtureOfExperts(2, 3, basis=basis), NormalLikelihood(3)
    )


def test_experts_of_a_gated_mixture_follow_the_latents() -> None:
    model = make_gated()
    updates = replace(EVERY_SECOND, move_prior=True)
    of_experts, of_prior = updates.move([bind(model, toy_data())], PriorGuide(model))
    assert [len(update.relative_errors) for update in (of_experts, of_prior)] == [1, 1]
    # The prior's knots follow the same draws, on the same cells.
    experts, prior = model.generator.experts.basis, model.prior.functions.basis
    assert isinstance(experts, NonUniformBSplineBasis)
    torch.testing.assert_close(experts.breakpoints, prior.breakpoints, rtol=0, atol=1e-6)


def test_gated_training_resumes_bit_for_bit(tmp_path: Path) -> None:
    unbroken = train(make_gated())
    with pytest.raises(KeyboardInterrupt):
        train(
            make_gated(),
            recipe=make_recipe(regularizer=stop_at(4, KeyboardInterrupt)),
            folder=tmp_path,
        )
    resumed = train(make_gated(9), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, resumed)
    assert isinstance(resumed.model.generator.experts.basis, NonUniformBSplineBasis)


def test_priors_knots_follow_the_same_draws_on_request() -> None:
    model = make_model()
    updates = replace(EVERY_SECOND, move_prior=True)
    *_, of_prior = updates.move([bind(model, toy_data())], PriorGuide(model))
    assert isinstance(model.prior.functions.basis, NonUniformBSplineBasis)
    assert of_prior.relative_errors[0].shape == (2,)
    # The generator's first layer sees the latents themselves.
    of_both = [f.basis.breakpoints for f in (model.prior.functions, model.generator.layers[0])]
    assert of_both[0].shape == (2, 9)
    middle = [points[:, points.shape[1] // 2] for points in of_both]
    assert (middle[0] - middle[1]).abs().max() < 0.2


@pytest.mark.parametrize("move_prior", [False, True])
@pytest.mark.parametrize("stopped", [2, 3, 4])
def test_resumed_training_ends_bit_for_bit_as_an_unbroken_one(
    tmp_path: Path, stopped: int, move_prior: bool
) -> None:
    recipe = make_recipe(grid_updates=replace(EVERY_SECOND, move_prior=move_prior))
    unbroken = train(recipe=recipe)
    broken = replace(recipe, regularizer=stop_at(stopped, KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        train(recipe=broken, folder=tmp_path)
    resumed = train(make_model(9), recipe=recipe, folder=tmp_path, resume=True)
    assert_same_weights(unbroken, resumed)
    assert all(map(torch.equal, breakpoints(unbroken.model), breakpoints(resumed.model)))
    read = load_fit(make_model(8), toy_data(), recipe, tmp_path)
    assert_same_weights(unbroken, read)
    x = toy_data()
    values = [
        Importance(64).estimate(f.model, x, guide=f.guide, seed=1).log_evidence
        for f in (unbroken, read)
    ]
    assert torch.equal(*values)


def test_resume_refuses_another_schedule(tmp_path: Path) -> None:
    train(folder=tmp_path)
    with pytest.raises(CheckpointError, match=r"grid_updates was .*'every': 2.* and is None"):
        train(recipe=make_recipe(grid_updates=None), folder=tmp_path, resume=True)


def test_loss_goes_on_falling() -> None:
    recipe = make_recipe(num_epochs=15, learning_rate=0.02)
    losses = [row["loss_per_datum"] for row in train(recipe=recipe).metrics]
    assert losses[-1] < losses[1]
    assert all(math.isfinite(loss) for loss in losses)


def test_metrics_without_grid_updates_are_as_before() -> None:
    result = train(recipe=make_recipe(grid_updates=None, num_epochs=1))
    assert "grid_error" not in result.metrics[0]


def test_network_that_the_model_does_not_call_is_left_alone() -> None:
    model = OneLatent(noise=0.1)
    model.spare = KAN([2, 1])
    [update] = EVERY_SECOND.move([bind(model, torch.rand(10, 1))], AutoNormal(model))
    assert len(update.relative_errors) == 1
    assert isinstance(model.spare.layers[0].basis, BSplineBasis)


def test_recording_ends_with_its_block() -> None:
    network = KAN([2, 3, 1])
    with record_inputs(networks_of(network)) as seen:
        network(torch.rand(4, 2))
        network(torch.rand(5, 6, 2))
    network(torch.rand(7, 2))
    assert [rows.shape for rows in seen[network]] == [(4, 2), (30, 2)]


WRONG = {
    "ratio": ({"ratio": 0.0}, ValueError, "ratio from 0.001"),
    "particles": ({"num_particles": 0}, ValueError, "num_particles >= 1.*got 0"),
    "no integer": ({"num_particles": 2.5}, TypeError, "num_particles to be an integer"),
    "schedule": ({"schedule": 5}, TypeError, "schedule.*got 5"),
}


@pytest.mark.parametrize(("changes", "error", "match"), WRONG.values(), ids=WRONG)
def test_wrong_settings_are_refused(
    changes: dict[str, object], error: type[Exception], match: str
) -> None:
    with pytest.raises(error, match=match):
        GridUpdates(**{"schedule": GridSchedule(every=2), **changes})


def test_models_without_grids_are_refused_before_the_first_update() -> None:
    with pytest.raises(ValueError, match=r"FactorModel without one\. Leave grid_updates=None"):
        toy_fit(recipe=toy_recipe(grid_updates=EVERY_SECOND))
    model = make_model()
    model.generator = KANGenerator(2, 3, basis=RBFBasis(5))
    with pytest.raises(ValueError, match="layer of B-splines, got RBFBasis"):
        train(model)
    with pytest.raises(ValueError, match=r"LVKAM whose prior.*got OneLatent\. Leave move_prior"):
        replace(EVERY_SECOND, move_prior=True).check(OneLatent(noise=0.1))
    model = make_model()
    model.prior = MixturePrior(2, basis=RBFBasis(5))
    with pytest.raises(ValueError, match="layer of B-splines, got RBFBasis"):
        replace(EVERY_SECOND, move_prior=True).check(model)
