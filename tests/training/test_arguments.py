"""fit() of programs with covariates, counts, data of one dimension and missing entries."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import Trace_ELBO
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

import lvkam_pyro as lv
from lvkam_pyro.training import batches, objective
from lvkam_pyro.training.loop import Fit, fit, load_fit
from lvkam_pyro.training.runs.checkpoint import CheckpointError
from tests.training.toy import assert_same_weights, stop_at, toy_recipe

NUM_DATA = 400


class Regression(PyroModule):
    """x_n ~ Normal(slope t_n + 0.1 z_n, noise)."""

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(()))
        self.noise = PyroParam(torch.ones(()), dist.constraints.positive)

    def forward(self, x: Tensor, t: Tensor, power: float = 1.0) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = self.slope * t**power + 0.1 * z
            return pyro.sample("x", dist.Normal(loc, self.noise), obs=x)


def regression_data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    t = 4 * torch.rand(NUM_DATA, generator=generator) - 2
    return 2 * t + 0.5 * torch.randn(NUM_DATA, generator=generator), t


X, T = regression_data()
SLOPE = float(X @ T / (T @ T))
DEVIATION = float((X - SLOPE * T).square().mean().sqrt())


def recipe(**changes: object) -> lv.Recipe:
    settings = {
        "build_guide": lambda model, *args, **kwargs: lv.AmortizedGuide(
            model, *args, hidden=(8,), **kwargs
        ),
        "objective": lv.EmpiricalBayes(8, sleep_weight=1.0),
        "num_epochs": 30,
        "batch_size": 50,
    }
    return toy_recipe(**{**settings, **changes})


def fit_regression(x: object, **options: object) -> Fit:
    torch.manual_seed(0)
    chosen = options.pop("recipe", None) or recipe()
    return fit(Regression(), x, chosen, progress=False, **options)


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit_regression((X, T), x_test=(X[:99], T[:99]))


def test_regression_on_a_covariate_is_that_of_least_squares(fitted: Fit) -> None:
    assert abs(SLOPE - 2) < 0.05
    assert abs(DEVIATION - 0.49) < 0.03
    # The last steps of Adam on batches of 50: some thousandths.
    assert fitted.model.slope.item() == pytest.approx(SLOPE, abs=0.02)
    deviation = (fitted.model.noise**2 + 0.1**2).sqrt().item()
    assert deviation == pytest.approx(DEVIATION, abs=0.03)
    law = dist.Normal(fitted.model.slope * T, deviation)
    row = fitted.metrics[-1]
    assert row["loss_per_datum"] == pytest.approx(-law.log_prob(X).mean().item(), abs=0.02)
    held_out = -law.log_prob(X)[:99].mean().item()
    assert row["held_out_loss_per_datum"] == pytest.approx(held_out, abs=0.02)


FORMS = {
    "dictionary": {"x": X, "t": T},
    "arrays": (X.numpy(), T.numpy()),
    "a number beside": (X, T, 1.0),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_arguments_come_in_many_forms(form: object, fitted: Fit) -> None:
    assert_same_weights(fitted, fit_regression(form))


def test_rows_are_found_wherever_they_stand() -> None:
    def model(basis: Tensor, x: Tensor, offset: float, t: Tensor) -> Tensor:
        slope = pyro.param("slope", torch.zeros(3))
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            loc = basis @ slope * t + offset + 0.1 * z
            return pyro.sample("x", dist.Normal(loc, 0.5), obs=x)

    seen = []

    class Seen(lv.AmortizedGuide):
        def forward(self, *args: object) -> dict[str, Tensor]:
            seen.append([tuple(arg.shape) for arg in args if isinstance(arg, Tensor)])
            return super().forward(*args)

    chosen = recipe(
        build_guide=lambda model, *args: Seen(model, *args, hidden=(4,)),
        objective=Trace_ELBO(),
    )
    basis = torch.tensor([0.5, 0.5, 0.0])
    x_test = (basis, X[:9], 0.0, T[:9])
    result = fit(model, (basis, X, 0.0, T), chosen, x_test=x_test, progress=False)
    law = dist.Normal((basis @ pyro.param("slope")) * T[:9], 0.26**0.5)
    loss = -law.log_prob(X[:9]).mean().item()
    assert result.metrics[-1]["held_out_loss_per_datum"] == pytest.approx(loss, abs=0.05)
    assert result.guide.places == (1, 2)
    assert seen[-2:] == [[(3,), (50,), (50,)], [(3,), (9,), (9,)]]
    assert (basis @ pyro.param("slope")).item() == pytest.approx(SLOPE, abs=0.1)


def test_mapped_arrays_stay_where_they_lie(tmp_path: Path, fitted: Fit) -> None:
    mapped = []
    for name, array in (("x", X), ("t", T)):
        np.save(tmp_path / f"{name}.npy", array.numpy())
        mapped.append(np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    seen = []
    start = recipe(start=lambda model, *args: seen.extend(args))
    assert_same_weights(fitted, fit_regression(tuple(mapped), recipe=start))
    assert [tensor.data_ptr() for tensor in seen] == [array.ctypes.data for array in mapped]


def test_many_data_are_looked_at_in_part(monkeypatch: pytest.MonkeyPatch, fitted: Fit) -> None:
    monkeypatch.setattr(batches, "_MAX_LOOKED_AT", 100)
    assert_same_weights(fitted, fit_regression((X, T)))
    monkeypatch.setattr(batches, "_SAMPLE_ROWS", 150)
    seen = []
    start = recipe(start=lambda model, *args: seen.extend(args), num_epochs=1)
    fit_regression((X, T), recipe=start)
    assert all(map(torch.equal, seen, (X[::3], T[::3])))


def test_resumed_training_ends_as_an_unbroken_one(tmp_path: Path, fitted: Fit) -> None:
    with pytest.raises(KeyboardInterrupt):
        stopped = recipe(regularizer=stop_at(40, KeyboardInterrupt))
        fit_regression((X, T), recipe=stopped, folder=tmp_path)
    assert_same_weights(fitted, fit_regression((X, T), folder=tmp_path, resume=True))
    assert_same_weights(fitted, load_fit(Regression(), (X, T), recipe(), tmp_path))
    for other, match in (
        ((X, T + 1), "data_hash was"),
        ((X, T, 2.0), "arguments was"),
        ({"x": X, "t": T}, "arguments was"),
    ):
        with pytest.raises(CheckpointError, match=match):
            fit_regression(other, folder=tmp_path, resume=True)


def test_dreams_are_given_the_covariates() -> None:
    program = lv.bind(Regression(), X, T)
    dreams = objective.Dreams.of(program)
    guide = lv.AmortizedGuide(program.model, X, T, hidden=(4,))
    seen = []
    guide.register_forward_pre_hook(lambda module, args: seen.append(args))
    assert dreams.log_guide(program, guide).shape == (NUM_DATA,)
    [(dreamed, covariates)] = seen
    assert covariates is T
    assert not torch.equal(dreamed, X)
    # A slope of zero: what is dreamed is noise of deviation one.
    assert dreamed.std() == pytest.approx(1.0, abs=0.15)


class Counts(PyroModule):
    """x_n ~ Poisson(exp(rate + z_n)), z_n ~ Normal(0, 0.3)."""

    def __init__(self) -> None:
        super().__init__()
        self.rate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 0.3))
            return pyro.sample("x", dist.Poisson((self.rate + z).exp()), obs=x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.float32])
def test_counts_of_one_dimension_are_data(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.poisson((1.5 + 0.3 * torch.randn(NUM_DATA)).exp())
    result = fit(Counts(), x.to(dtype), recipe(num_epochs=20), progress=False)
    # E x = exp(rate + 0.3^2 / 2), within three standard errors of the estimate.
    assert result.model.rate.item() == pytest.approx(x.mean().log().item() - 0.045, abs=0.06)


def test_truth_values_and_double_precision_are_data() -> None:
    class Coins(PyroModule):
        def __init__(self) -> None:
            super().__init__()
            self.logit = nn.Parameter(torch.zeros((), dtype=torch.float64))

        def forward(self, heads: Tensor, t: Tensor) -> Tensor:
            with pyro.plate("data", len(heads)):
                z = pyro.sample("z", dist.Normal(torch.zeros_like(t), 1.0))
                law = dist.Bernoulli(logits=self.logit * t + 0.01 * z)
                return pyro.sample("heads", law, obs=heads.to(t.dtype))

    torch.manual_seed(0)
    t = torch.ones(NUM_DATA, dtype=torch.float64)
    heads = torch.rand(NUM_DATA) < 0.75
    chosen = recipe(
        build_guide=lambda model, *args: AutoNormal(model), objective=Trace_ELBO(), num_epochs=100
    )
    with pytest.warns(batches.WholeDataWarning, match="in the guide"):
        result = fit(Coins(), (heads, t), chosen, progress=False)
    assert result.model.logit.sigmoid().item() == pytest.approx(
        heads.double().mean().item(), abs=0.03
    )
    with pytest.raises(ValueError, match=r"x\[1\] is torch.float32.*model is torch.float64"):
        fit(Coins(), (heads, t.float()), chosen, progress=False)


class Masked(PyroModule):
    """x_n ~ Normal(loc + z_n, 1) where it is no NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            law = dist.Normal(self.loc + z, 1.0).mask(~x.isnan())
            return pyro.sample("x", law, obs=x.nan_to_num())


def whole(model: object, *args: Tensor) -> Callable[..., None]:
    """A guide that sees nothing of the data."""

    def guide(*args: Tensor) -> None:
        with pyro.plate("data", len(args[0])):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    return guide


MISSING = torch.where(torch.arange(NUM_DATA) % 5 == 4, torch.nan, X)


def test_missing_data_of_a_program_that_masks_them_are_trained_on() -> None:
    chosen = recipe(build_guide=whole, objective=lv.EmpiricalBayes(64))
    result = fit(Masked(), MISSING, chosen, x_test=MISSING[:7], progress=False)
    assert result.model.loc.item() == pytest.approx(MISSING.nanmean().item(), abs=0.1)


@pytest.mark.parametrize("looked_at", [2**20, 3])
def test_missing_data_are_refused_where_the_density_is_not_finite(
    looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_MAX_LOOKED_AT", looked_at)
    with pytest.raises(ValueError, match=r"x holds NaN or infinity in 80 .* first nan at \(4,\)"):
        fit(Counts(), MISSING, recipe(), progress=False)
    with pytest.raises(ValueError, match=r"x\[1\] holds NaN or infinity in 80 .* at \(4,\)"):
        fit_regression((X, torch.where(MISSING.isnan(), torch.nan, T)))
    with pytest.raises(ValueError, match=r"x_test\['x'\] holds NaN .* first nan at \(4,\)"):
        fit_regression({"x": X, "t": T}, x_test={"x": MISSING, "t": T})


WRONG_HELD_OUT = {
    "one argument": (X, "must be the same arguments"),
    "by name": ({"x": X, "t": T}, "must be the same arguments"),
    "another precision": ((X, T.double()), r"x\[1\] and x_test\[1\] must agree .*float64"),
    "columns": ((X, T[:, None]), r"x\[1\] and x_test\[1\] must agree"),
}


@pytest.mark.parametrize(("x_test", "match"), WRONG_HELD_OUT.values(), ids=WRONG_HELD_OUT)
def test_held_out_arguments_must_be_of_the_same_kind(x_test: object, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        fit_regression((X, T), x_test=x_test)


def test_constant_covariates_are_welcome() -> None:
    assert len(fit_regression((X, torch.ones(NUM_DATA)), recipe=recipe(num_epochs=1)).metrics) == 1
    with pytest.raises(ValueError, match=r"x\[0\] has constant columns"):
        fit_regression((torch.ones(NUM_DATA), T))


def test_arguments_that_are_no_arrays_are_refused_by_place() -> None:
    with pytest.raises(ValueError, match=r"x\['t'\] is empty"):
        fit_regression({"x": X, "t": T[:0]})
    with pytest.raises(TypeError, match=r"x\[1\] must be floating point, .* got torch.complex64"):
        fit_regression((X, T + 1j))


def pooled(x: Tensor, t: Tensor) -> Tensor:
    slope = pyro.sample("slope", dist.Normal(0.0, 10.0))
    with pyro.plate("data", len(x)):
        return pyro.sample("x", dist.Normal(slope * t, 0.5), obs=x)


def test_data_set_that_is_one_unit_is_one_batch() -> None:
    guide = AutoNormal(pooled)
    chosen = recipe(
        build_guide=lambda model, *args: guide,
        objective=Trace_ELBO(4),
        num_epochs=300,
        learning_rate=0.05,
    )
    with pytest.warns(batches.WholeDataWarning, match=f"all {NUM_DATA} of them"):
        result = fit(pooled, (X, T), chosen, progress=False)
    assert guide.median()["slope"].item() == pytest.approx(SLOPE, abs=0.03)
    evidence = lv.evidence.Importance(4096).estimate(pooled, X, T, guide=guide)
    # Of all data: the loss is per row, and above the evidence by the guide's divergence.
    loss = NUM_DATA * result.metrics[-1]["loss_per_datum"]
    assert loss == pytest.approx(-evidence.total, abs=1.0)


@pytest.mark.parametrize("name", ["amortized", "importance", "elbo", "iwae", "thermodynamic"])
def test_recipes_of_the_library_take_covariates(name: str) -> None:
    chosen = lv.load_recipe(name, num_epochs=1, batch_size=200, num_particles=4)
    for data in ((X, T), {"x": X, "t": T}):
        assert len(fit_regression(data, recipe=chosen).metrics) == 1


def test_recipe_of_one_argument_is_refused_by_name() -> None:
    chosen = recipe(build_guide=lambda model, x: AutoNormal(model))
    with pytest.raises(TypeError, match="The recipe's build_guide does not take the arguments"):
        fit_regression((X, T), recipe=chosen)


def measurements() -> nn.Module:
    return lv.NormalLikelihood(3)


def categories() -> nn.Module:
    return lv.CategoricalLikelihood(3, 5)


def test_whole_numbers_are_data_of_the_ready_made_models() -> None:
    x = torch.randint(0, 5, (60, 3), generator=torch.Generator().manual_seed(0))

    def first_loss(data: Tensor, likelihood: nn.Module, num_outputs: int) -> float:
        torch.manual_seed(0)
        ready = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, num_outputs), likelihood)
        chosen = lv.load_recipe("amortized", hidden=(4,), num_epochs=1)
        return fit(ready, data, chosen, progress=False).metrics[0]["loss_per_datum"]

    for make, num_outputs in ((measurements, 3), (categories, 15)):
        expected = first_loss(x.float(), make(), num_outputs)
        assert first_loss(x, make(), num_outputs) == pytest.approx(expected, rel=1e-4)


def test_encoder_reads_what_is_missing_as_the_mean() -> None:
    guide = lv.AmortizedGuide(Masked(), MISSING, hidden=(4,))
    assert guide.encoders[0].mean.item() == pytest.approx(MISSING.nanmean().item(), rel=1e-5)
    with pyro.poutine.trace() as trace:
        guide(torch.tensor([torch.nan, guide.encoders[0].mean.item()]))
    law = trace.trace.nodes["z"]["fn"].base_dist
    assert law.mean[0].item() == pytest.approx(law.mean[1].item(), abs=1e-6)
    chosen = recipe(objective=lv.EmpiricalBayes(32))
    result = fit(Masked(), MISSING, chosen, progress=False)
    assert result.model.loc.item() == pytest.approx(MISSING.nanmean().item(), abs=0.1)


def test_program_that_subsamples_by_itself_takes_covariates() -> None:
    class Subsampling(Regression):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            with pyro.plate("data", len(x), subsample_size=50) as index:
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
                loc = self.slope * t[index] + 0.1 * z
                return pyro.sample("x", dist.Normal(loc, self.noise), obs=x[index])

    result = fit(Subsampling(), (X, T), recipe(), progress=False)
    assert result.model.slope.item() == pytest.approx(SLOPE, abs=0.03)
    deviation = (result.model.noise**2 + 0.1**2).sqrt().item()
    assert deviation == pytest.approx(DEVIATION, abs=0.03)


def test_held_out_data_of_a_guide_with_parameters_of_each_datum_are_refused() -> None:
    chosen = recipe(build_guide=lambda model, *args: AutoNormal(model), objective=Trace_ELBO())
    with (
        pytest.warns(batches.WholeDataWarning),
        pytest.raises(ValueError, match="leave out x_test"),
    ):
        fit_regression((X, T), recipe=chosen, x_test=(X[:9], T[:9]))
