"""fit() of programs in the style of Pyro's tutorials: pyro.param and pyro.module statements."""

from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO
from pyro.optim import Adam
from torch import Tensor, nn

import lvkam_pyro as lv
from lvkam_pyro.training.divergence import DivergenceError
from lvkam_pyro.training.loop import Fit, fit, load_fit
from lvkam_pyro.training.runs.checkpoint import load_checkpoint
from tests.training.toy import stop_at, toy_fit, toy_recipe

X = 2 * torch.randn(150, generator=torch.Generator().manual_seed(4)) + 3


def model(x: Tensor) -> Tensor:
    """x_n ~ Normal(mu, sqrt(tau^2 + 1)), by a latent for each datum."""
    mu = pyro.param("mu", torch.tensor(0.0))
    tau = pyro.param("tau", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(mu, tau))
        return pyro.sample("x", dist.Normal(z, 1.0), obs=x)


def guide(x: Tensor) -> None:
    """The exact posterior is among its values: slope tau^2 / (tau^2 + 1), and so on."""
    slope = pyro.param("slope", torch.tensor(0.0))
    offset = pyro.param("offset", lambda: torch.randn(()))
    scale = pyro.param("scale", torch.tensor(1.0), constraint=dist.constraints.positive)
    with pyro.plate("data", len(x)):
        pyro.sample("z", dist.Normal(slope * x + offset, scale))


def recipe(**changes: object) -> lv.Recipe:
    settings = {
        "build_guide": lambda model, x: guide,
        "objective": Trace_ELBO(8, vectorize_particles=True),
        "num_epochs": 100,
        "batch_size": 50,
        "learning_rate": 0.1,
        "guide_learning_rate": None,
    }
    return toy_recipe(**{**settings, **changes})


def run(**options: object) -> Fit:
    chosen = options.pop("recipe", None) or recipe(num_epochs=4)
    return fit(model, X, chosen, progress=False, **options)


def stored() -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in pyro.get_param_store().items()}


def assert_stored(expected: dict[str, Tensor]) -> None:
    found = stored()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_maximum_of_the_likelihood_is_found_and_handed_to_the_callers_store() -> None:
    pyro.param("mu", torch.tensor(77.0))
    kept = pyro.param("of another program", torch.tensor(5.0))
    before = torch.get_rng_state()
    result = run(recipe=recipe(), x_test=X)
    assert torch.equal(before, torch.get_rng_state())
    values = stored()
    mean, variance = X.mean().item(), X.var(correction=0).item()
    assert pyro.param("of another program") is kept
    assert values["mu"].item() == pytest.approx(mean, abs=0.02)
    assert values["tau"].item() == pytest.approx((variance - 1) ** 0.5, abs=0.03)
    assert values["slope"].item() == pytest.approx(1 - 1 / variance, abs=0.03)
    assert values["scale"].item() == pytest.approx((1 - 1 / variance) ** 0.5, abs=0.03)
    exact = dist.Normal(values["mu"], (values["tau"] ** 2 + 1).sqrt()).log_prob(X)
    assert result.metrics[-1]["loss_per_datum"] == pytest.approx(-exact.mean().item(), abs=0.01)
    # The guide is the posterior, nearly: with its trained values every draw says the same.
    evidence = lv.evidence.Importance(256).estimate(model, X, guide=guide)
    error = evidence.total - exact.sum().item()
    assert abs(error) < 4 * evidence.total_standard_error + 1e-3
    assert evidence.diagnostics["ess"].min() > 200


def test_values_are_those_of_svi() -> None:
    run(recipe=recipe(batch_size=150, num_epochs=300))
    ours = stored()
    pyro.clear_param_store()
    torch.manual_seed(0)
    objective = Trace_ELBO(8, vectorize_particles=True)
    svi = SVI(model, guide, Adam({"lr": 0.02}), objective)
    for _ in range(600):
        svi.step(X)
    assert ours.keys() == stored().keys()
    for name, value in stored().items():
        assert ours[name].item() == pytest.approx(value.item(), abs=0.1), name


def test_svi_and_a_second_fit_find_the_parameters() -> None:
    run()
    tensors = dict(pyro.get_param_store().named_parameters())
    SVI(model, guide, Adam({"lr": 0.1}), Trace_ELBO()).step(X)
    assert all(pyro.get_param_store()._params[name] is each for name, each in tensors.items())
    first = stored()
    # A fit begins at the values in the statements, wherever the store is.
    run()
    second = stored()
    run()
    assert_stored(second)
    assert not torch.equal(first["mu"], second["mu"])


def test_learning_rates_are_those_of_model_and_guide() -> None:
    run(recipe=recipe(num_epochs=4, learning_rate=0.1, guide_learning_rate=1e-9))
    values = stored()
    assert abs(values["mu"].item()) > 0.1
    assert values["slope"].item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_resumed_training_ends_bit_for_bit_as_an_unbroken_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    run()
    unbroken = stored()
    pyro.clear_param_store()
    with pytest.raises(error):
        run(recipe=recipe(num_epochs=4, regularizer=stop_at(3, error)), folder=tmp_path)
    # However it ended, the store has what was trained until then.
    assert stored().keys() == unbroken.keys()
    pyro.clear_param_store()
    run(folder=tmp_path, resume=True)
    assert_stored(unbroken)
    pyro.clear_param_store()
    load_fit(model, X, recipe(num_epochs=4), tmp_path)
    assert_stored(unbroken)
    assert "stored.tau" in load_checkpoint(tmp_path / "checkpoint.pt")["module"]


def test_best_epoch_is_kept_in_the_store_too() -> None:
    stopping = lv.training.EarlyStopping(patience=None)
    # The steps are too long: the first epochs are better than what follows.
    chosen = recipe(num_epochs=6, learning_rate=3.0, early_stopping=stopping)
    result = run(recipe=chosen, x_validation=X[:20])
    assert result.epoch < 6
    best = stored()
    run(recipe=recipe(num_epochs=6, learning_rate=3.0))
    assert not torch.equal(best["mu"], stored()["mu"])


def test_divergence_names_the_parameter() -> None:
    def explode(model: object) -> Tensor:
        return torch.inf * pyro.param("mu")

    with pytest.raises(DivergenceError, match=r"not finite for stored\.mu"):
        run(recipe=recipe(regularizer=explode))


def test_store_is_left_alone_by_programs_of_modules() -> None:
    kept = pyro.param("linear.weight", torch.ones(1))
    toy_fit()
    assert list(pyro.get_param_store()) == ["linear.weight"]
    assert pyro.param("linear.weight") is kept


def test_statement_in_a_module_is_trained() -> None:
    class Loose(pyro.nn.PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.slope = nn.Parameter(torch.tensor(0.0))

        def forward(self, x: Tensor) -> None:
            loc = pyro.param("loose_loc", x.new_zeros(()))
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(self.slope * x + loc, 1.0))

    result = run(recipe=recipe(num_epochs=4, build_guide=lambda model, x: Loose()))
    assert result.guide.slope != 0
    assert stored().keys() == {"mu", "tau", "loose_loc"}
    assert stored()["loose_loc"] != 0


def test_parameter_made_after_the_first_update_is_refused() -> None:
    def late(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            name = "offset" if len(x) == 50 else "offset of the last batch"
            loc = pyro.param(name, torch.tensor(0.0))
            pyro.sample("z", dist.Normal(x / 2 + loc, 1.0))

    chosen = recipe(build_guide=lambda model, x: late, batch_size=50, num_epochs=1)
    with pytest.raises(ValueError, match=r"did not run before the first update.*: offset"):
        fit(model, X[:140], chosen, progress=False)


def test_parameters_of_each_datum_are_made_for_all() -> None:
    def each(x: Tensor) -> None:
        loc = pyro.param("loc", torch.zeros(len(x)))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, 0.8))

    chosen = recipe(build_guide=lambda model, x: each, num_epochs=150)
    with pytest.warns(lv.training.WholeDataWarning, match="each update takes all 150"):
        run(recipe=chosen)
    values = stored()
    posterior = (values["tau"] ** 2 * X + values["mu"]) / (values["tau"] ** 2 + 1)
    assert values["loc"].shape == (150,)
    assert (values["loc"] - posterior).abs().mean() < 0.1


class VAE(nn.Module):
    """The variational autoencoder of Pyro's tutorial, small."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 6))
        self.encoder = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 4))

    def model(self, x: Tensor) -> None:
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            loc, scale = x.new_zeros(x.shape[0], 2), x.new_ones(x.shape[0], 2)
            z = pyro.sample("latent", dist.Normal(loc, scale).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=self.decoder(z)).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            loc, log_scale = self.encoder(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))


def fit_vae(seed: int, images: Tensor, **options: object) -> tuple[VAE, Fit]:
    torch.manual_seed(seed)
    vae = VAE()
    chosen = recipe(
        build_guide=lambda model, x: vae.guide,
        objective=Trace_ELBO(),
        num_epochs=options.pop("num_epochs", 40),
        batch_size=64,
        learning_rate=0.02,
    )
    return vae, fit(vae.model, images, chosen, progress=False, **options)


def test_vae_in_the_style_of_the_tutorial(tmp_path: Path) -> None:
    signs = torch.randn(300, 1, generator=torch.Generator().manual_seed(0)) > 0
    images = (signs ^ torch.tensor([False] * 3 + [True] * 3)).float()
    vae, result = fit_vae(1, images, folder=tmp_path)
    # Two images, each half of the data: the best model's evidence is -log 2 per datum, that of
    # independent pixels -6 log 2.
    assert 0.69 < result.metrics[-1]["loss_per_datum"] < 1.3
    evidence = lv.evidence.Importance(512).estimate(vae.model, images, guide=vae.guide)
    loss = len(images) * result.metrics[-1]["loss_per_datum"]
    assert -loss - 5 < evidence.total < -300 * 0.69
    store = dict(pyro.get_param_store().named_parameters())
    assert store["decoder$$$0.weight"] is vae.decoder[0].weight
    assert len(store) == 8
    # Another instance is read back in place, and the store has its tensors then.
    pyro.clear_param_store()
    other, again = fit_vae(2, images, folder=tmp_path, resume=True)
    assert torch.equal(other.decoder[0].weight, vae.decoder[0].weight)
    assert again.metrics == result.metrics
    assert pyro.get_param_store()._params["encoder$$$2.bias"] is other.encoder[2].bias
