"""fit(): learns, repeats itself bit for bit, and says what is wrong."""

import io
import re
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor

from lvkam_pyro.training.divergence import DivergenceError
from lvkam_pyro.training.loop import fit
from lvkam_pyro.training.objective import EmpiricalBayes
from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from lvkam_pyro.training.runs.run_folder import RunFolder
from tests.training.toy import (
    Encoder,
    FactorModel,
    assert_same_weights,
    read_metrics,
    stop_at,
    toy_data,
    toy_fit,
    toy_model,
    toy_recipe,
    weights,
)

X = toy_data()


class PriorEncoder(PyroModule):
    """q(z | x) = p(z), without a parameter."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))


def test_fit_descends_and_reports_every_epoch() -> None:
    result = toy_fit(recipe=toy_recipe(num_epochs=30), x_test=toy_data()[:7])
    assert [row["epoch"] for row in result.metrics] == list(range(1, 31))
    first, last = result.metrics[0], result.metrics[-1]
    assert last["loss_per_datum"] < first["loss_per_datum"] - 1
    assert last["held_out_loss_per_datum"] < first["held_out_loss_per_datum"]
    assert first["learning_rate"] == pytest.approx(0.05)
    assert last["learning_rate"] < 1e-3
    assert not result.model.training


@pytest.mark.parametrize("full_size", [None, 1000], ids=["plain", "scaled up to 1000 data"])
def test_loss_is_per_datum_also_with_a_short_last_batch(full_size: int | None) -> None:
    def data_plate(x: Tensor) -> pyro.plate:
        return pyro.plate("data", full_size or len(x), len(x))

    class Fixed(FactorModel):
        def forward(self, x: Tensor) -> Tensor:
            with data_plate(x):
                pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                law = dist.Normal(self.linear.bias, 1.0).to_event(1)
                return pyro.sample("x", law, obs=x)

    def prior(x: Tensor) -> None:
        with data_plate(x):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))

    model = Fixed()
    exact = -dist.Normal(model.linear.bias, 1.0).log_prob(X).sum(-1).mean().item()
    recipe = toy_recipe(build_guide=lambda m, x: prior, learning_rate=1e-9, num_epochs=1)
    row = fit(model, X, recipe, x_test=X, progress=False).metrics[0]
    assert row["loss_per_datum"] == pytest.approx(exact, rel=1e-5)
    assert row["held_out_loss_per_datum"] == pytest.approx(exact, rel=1e-5)


def test_fit_repeats_itself_and_leaves_the_callers_state_alone() -> None:
    pyro.param("linear.weight", torch.ones(1))
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, second = toy_fit(toy_model(3)), None
    torch.manual_seed(5)
    second_model = toy_model(3)
    torch.manual_seed(5)
    second = toy_fit(second_model, x_test=toy_data())
    assert torch.equal(torch.get_rng_state(), before)
    assert list(pyro.get_param_store().keys()) == ["linear.weight"]
    assert_same_weights(first, second)


def test_two_models_of_one_class_train_independently() -> None:
    first = toy_fit(toy_model(1))
    kept = weights(first.model)
    start = weights(toy_model(2))
    second = toy_fit(toy_model(2))
    assert all(map(torch.equal, kept, weights(first.model)))
    assert not any(map(torch.equal, start, weights(second.model)))


def test_seed_orders_the_data() -> None:
    a, b = toy_fit(seed=0), toy_fit(seed=1)
    assert not torch.equal(a.model.linear.weight, b.model.linear.weight)


def test_start_regularizer_and_clipping_are_used() -> None:
    def start(model: FactorModel, x: Tensor) -> None:
        with torch.no_grad():
            model.linear.bias.copy_(x.mean(0))

    def ridge(model: FactorModel) -> Tensor:
        return 1e4 * model.linear.weight.square().sum()

    recipe = toy_recipe(start=start, regularizer=ridge, learning_rate=1e-4, max_gradient_norm=1e-3)
    result = toy_fit(recipe=recipe)
    assert torch.allclose(result.model.linear.bias, toy_data().mean(0), atol=0.01)
    assert result.metrics[0]["gradient_norm"] > 1


def test_lazy_guide_is_trained_at_its_own_rate() -> None:
    recipe = toy_recipe(build_guide=lambda model, x: AutoNormal(model), batch_size=40)
    result = toy_fit(recipe=recipe)
    assert any((p.detach() != 0).any() for p in result.guide.parameters())


def test_folder_holds_settings_metrics_and_checkpoint(tmp_path: Path) -> None:
    result = toy_fit(folder=tmp_path / "deep" / "run", x_test=toy_data())
    folder = RunFolder(tmp_path / "deep" / "run")
    assert read_metrics(folder.path) == result.metrics
    settings = folder.read_settings()
    assert settings["training"]["num_data"] == 40
    assert settings["versions"]["torch"] == torch.__version__
    assert {path.name for path in folder.path.iterdir()} == {
        "settings.json",
        "metrics.csv",
        "checkpoint.pt",
    }


def test_divergence_names_the_place_and_keeps_the_last_epoch(tmp_path: Path) -> None:
    calls = iter(range(10**6))

    def explode(model: FactorModel) -> Tensor:
        factor = torch.inf if next(calls) == 7 else 0.0
        return factor * model.linear.weight.sum()

    model = toy_model()
    with pytest.raises(DivergenceError, match=r"epoch 3, batch 2.*model.linear.weight"):
        toy_fit(model, recipe=toy_recipe(regularizer=explode), folder=tmp_path)
    assert all(p.isfinite().all() for p in model.parameters())
    assert len(load_checkpoint(tmp_path / "checkpoint.pt")["metrics"]) == 2


@pytest.mark.parametrize("rate", [1e2, 1e30], ids=["NaN", "a scale of zero"])
@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_steps_too_long_are_a_divergence_and_change_nothing_on_the_disk(
    rate: float, tmp_path: Path
) -> None:
    recipe = toy_recipe(learning_rate=rate, guide_learning_rate=rate)
    with pytest.raises(DivergenceError, match=r"epoch 1, batch 2: .* this update was not made"):
        toy_fit(recipe=recipe, folder=tmp_path)
    assert not (tmp_path / "checkpoint.pt").exists()


@pytest.mark.filterwarnings("ignore:Encountered NaN")
def test_divergence_names_the_site_of_an_outlier() -> None:
    x = toy_data()
    x[17, 2] = 1e30
    match = r"not finite at model site 'z', model site 'x'; .* model\.linear\.weight"
    with pytest.raises(DivergenceError, match=match):
        fit(toy_model(), x, toy_recipe(num_epochs=1), progress=False)


def test_datum_outside_the_support_is_no_divergence() -> None:
    class Counts(FactorModel):
        def forward(self, x: Tensor) -> Tensor:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                law = dist.Bernoulli(logits=self.linear(z)).to_event(1)
                return pyro.sample("x", law, obs=x)

    x = torch.ones(40, 3)
    x[39, 0] = 2.0
    with pytest.raises(ValueError, match="to be within the support"):
        fit(Counts(), x, toy_recipe(), progress=False)


def test_errors_of_the_program_itself_are_not_taken_for_a_divergence() -> None:
    recipe = toy_recipe(regularizer=stop_at(2, ValueError))
    with pytest.raises(ValueError, match="stopped by the test"):
        toy_fit(recipe=recipe)


class Colliding(Encoder):
    """Its parameter has the Pyro name of one of the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroParam(torch.ones(2), dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encode(x), self.scale).to_event(1))


class Nothing(PyroModule):
    """A model without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            law = dist.Normal(z.mean(-1, keepdim=True), x.new_ones(3)).to_event(1)
            return pyro.sample("x", law, obs=x)


def test_parameters_that_would_not_be_trained_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one Pyro name to two parameters.*scale"):
        toy_fit(recipe=toy_recipe(build_guide=lambda model, x: Colliding()))


def test_nothing_to_train_is_refused() -> None:
    recipe = toy_recipe(build_guide=lambda model, x: PriorEncoder())
    with pytest.raises(ValueError, match="parameter that requires a gradient"):
        fit(Nothing(), toy_data(), recipe, progress=False)


def test_effective_size_of_the_particles_is_reported() -> None:
    result = toy_fit(recipe=toy_recipe(objective=EmpiricalBayes(6)))
    sizes = [row["effective_size"] for row in result.metrics]
    assert all(1 < size < 6 for size in sizes)
    assert "effective_size" not in toy_fit().metrics[0]


def test_bar_shows_loss_evidence_particles_and_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    recipe = toy_recipe(objective=EmpiricalBayes(6))
    row = fit(toy_model(), X, recipe, x_test=X[:9]).metrics[-1]
    last = sys.stderr.getvalue().rstrip().rsplit("\r", 1)[-1]
    assert last.startswith("toy: 100%")
    assert re.search(r"4/4 .*epoch/s", last)
    assert f"loss {row['loss_per_datum']:.3f}" in last
    assert f"held-out evidence {-row['held_out_loss_per_datum']:.3f}" in last
    assert f"ESS {row['effective_size']:.1f}" in last
    assert f"rate {row['learning_rate']:.2g}" in last
