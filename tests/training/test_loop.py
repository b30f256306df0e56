"""fit(): learns, repeats itself bit for bit, goes on after any stop, and says what is wrong."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn

from lvkam_pyro.training import checkpoint, journal
from lvkam_pyro.training.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from lvkam_pyro.training.divergence import DivergenceError
from lvkam_pyro.training.loop import Fit, fit, load_fit
from lvkam_pyro.training.run_folder import RunFolder
from tests.training.toy import Encoder, FactorModel, toy_data, toy_recipe, weights

X = toy_data()


def toy_model(seed: int = 0) -> FactorModel:
    torch.manual_seed(seed)
    return FactorModel()


def toy_fit(model: FactorModel | None = None, **options: object) -> Fit:
    recipe = options.pop("recipe", None) or toy_recipe()
    return fit(model or toy_model(), toy_data(), recipe, progress=False, **options)


def assert_same_weights(first: Fit, second: Fit) -> None:
    for name in ("model", "guide"):
        a, b = getattr(first, name).state_dict(), getattr(second, name).state_dict()
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), f"the {name}s differ"


class PriorEncoder(PyroModule):
    """q(z | x) = p(z), without a parameter."""

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))


def stop_at(epoch: int, error: type[BaseException]) -> object:
    """A regularizer that raises in the second batch of an epoch of three batches."""
    calls = iter(range(10**6))

    def regularizer(model: object) -> Tensor:
        if next(calls) == 3 * (epoch - 1) + 1:
            raise error("stopped by the test")
        return torch.zeros(())

    return regularizer


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
    assert folder.read_metrics() == result.metrics
    settings = folder.read_settings()
    assert settings["training"]["num_data"] == 40
    assert settings["versions"]["torch"] == torch.__version__
    assert {path.name for path in folder.path.iterdir()} == {
        "settings.json",
        "metrics.csv",
        "checkpoint.pt",
    }


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_resumed_training_ends_bit_for_bit_as_an_unbroken_one(
    tmp_path: Path, error: type[BaseException]
) -> None:
    unbroken = toy_fit()
    with pytest.raises(error):
        toy_fit(recipe=toy_recipe(regularizer=stop_at(3, error)), folder=tmp_path)
    assert len(RunFolder(tmp_path).read_metrics()) == 2
    resumed = toy_fit(toy_model(9), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, resumed)
    assert len(resumed.metrics) == 4
    again = toy_fit(toy_model(8), folder=tmp_path, resume=True)
    assert_same_weights(unbroken, again)


KILLED = """
import sys, time, torch
from tests.training.toy import FactorModel, toy_data, toy_recipe
from lvkam_pyro.training import journal
from lvkam_pyro.training.loop import fit

def slow(model):
    time.sleep(0.02)
    return torch.zeros(())

journal.SECONDS_BETWEEN_WRITES = 0.0
torch.manual_seed(0)
recipe = toy_recipe(num_epochs=40, regularizer=slow)
fit(FactorModel(), toy_data(), recipe, folder=sys.argv[1], progress=False)
"""


def test_killed_process_is_resumed_bit_for_bit(tmp_path: Path) -> None:
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=root)
    deadline = time.monotonic() + 60
    while not (tmp_path / "metrics.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert 0 < len(load_checkpoint(tmp_path / "checkpoint.pt")["metrics"]) < 40
    recipe = toy_recipe(num_epochs=40)
    resumed = toy_fit(toy_model(9), recipe=recipe, folder=tmp_path, resume=True)
    assert_same_weights(toy_fit(recipe=recipe), resumed)


def test_without_resume_a_run_is_not_overwritten(tmp_path: Path) -> None:
    toy_fit(folder=tmp_path)
    content = (tmp_path / "checkpoint.pt").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        toy_fit(folder=tmp_path)
    assert (tmp_path / "checkpoint.pt").read_bytes() == content


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


def test_full_disk_keeps_what_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "SECONDS_BETWEEN_WRITES", -1.0)
    with pytest.raises(KeyboardInterrupt):
        toy_fit(recipe=toy_recipe(regularizer=stop_at(3, KeyboardInterrupt)), folder=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"No space left.*intact") as caught:
        toy_fit(folder=tmp_path, resume=True)
    assert caught.value.errno == errno.ENOSPC
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def damage(content: bytes, kind: str) -> bytes:
    middle = len(content) // 2
    return {
        "truncated": content[:middle],
        "empty": b"",
        "text": b"epoch,loss\n",
        "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
    }[kind]


@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "one bit"])
def test_damaged_checkpoint_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    toy_fit(folder=tmp_path)
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(damage(path.read_bytes(), kind))
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt is damaged"):
        toy_fit(folder=tmp_path, resume=True)


def test_newer_and_foreign_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"format_version": checkpoint.FORMAT_VERSION + 1})
    with pytest.raises(CheckpointError, match=r"has format 2.*Install the newer"):
        toy_fit(folder=tmp_path, resume=True)
    torch.save({"weights": torch.ones(2)}, path)
    with pytest.raises(CheckpointError, match="is damaged or is no checkpoint"):
        toy_fit(folder=tmp_path, resume=True)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_checkpoint(tmp_path / "nothing.pt")


def test_resume_refuses_other_settings_and_other_models(tmp_path: Path) -> None:
    toy_fit(folder=tmp_path)
    with pytest.raises(CheckpointError, match="batch_size was 16 and is 8"):
        toy_fit(recipe=toy_recipe(batch_size=8), folder=tmp_path, resume=True)
    with pytest.raises(CheckpointError, match="seed was 0 and is 1"):
        toy_fit(folder=tmp_path, resume=True, seed=1)

    class Wide(FactorModel):
        def __init__(self) -> None:
            super().__init__()
            self.extra = nn.Linear(2, 2)

    with pytest.raises(CheckpointError, match="another model or guide"):
        toy_fit(Wide(), folder=tmp_path, resume=True)


def test_resume_of_an_empty_folder_starts_anew(tmp_path: Path) -> None:
    assert_same_weights(toy_fit(folder=tmp_path, resume=True), toy_fit())


class Colliding(Encoder):
    """Its parameter has the Pyro name of one of the model's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = PyroParam(torch.ones(2), dist.constraints.positive)

    def forward(self, x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(self.encode(x), self.scale).to_event(1))


class Loose(Encoder):
    """Its parameter is in Pyro's store alone."""

    def forward(self, x: Tensor) -> None:
        loc = pyro.param("loose_loc", x.new_zeros(2))
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(loc, self.spread).to_event(1))


class Nothing(PyroModule):
    """A model without parameters."""

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
            law = dist.Normal(z.mean(-1, keepdim=True), x.new_ones(3)).to_event(1)
            return pyro.sample("x", law, obs=x)


@pytest.mark.parametrize(
    ("guide", "match"),
    [(Colliding, "one Pyro name to two parameters.*scale"), (Loose, "belong to no module.*loose")],
)
def test_parameters_that_would_not_be_trained_are_refused(guide: type, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        toy_fit(recipe=toy_recipe(build_guide=lambda model, x: guide()))


def test_nothing_to_train_is_refused() -> None:
    recipe = toy_recipe(build_guide=lambda model, x: PriorEncoder())
    with pytest.raises(ValueError, match="parameter that requires a gradient"):
        fit(Nothing(), toy_data(), recipe, progress=False)


WRONG_DATA = {
    "NaN": (
        X.index_fill(0, torch.tensor([3]), torch.nan),
        ValueError,
        r"NaN or infinity in 3 of its 120 entries.*\(3, 0\)",
    ),
    "infinity": (
        X.index_fill(1, torch.tensor([1]), torch.inf),
        ValueError,
        "NaN or infinity in 40",
    ),
    "one dimension": (X[:, 0], ValueError, r"shape \(N, ...\).*got \(40,\)"),
    "empty": (X[:0], ValueError, r"x is empty: its shape is \(0, 3\)"),
    "no columns": (X[:, :0], ValueError, "x is empty"),
    "integers": (X.long(), TypeError, r"floating point; got torch.int64.*x.float\(\)"),
    "text": ("digits.npy", TypeError, "must be a tensor or an array; got str"),
    "constant columns": (
        X.index_fill(1, torch.tensor([0, 2]), 1.5),
        ValueError,
        "constant columns.*: 0, 2. Drop",
    ),
    "columns of another model": (
        X[:, :2],
        ValueError,
        r"site 'x' is of data of shape \(3,\); the data are \(2,\)",
    ),
    "double": (X.double(), ValueError, "data are torch.float64.*model is torch.float32"),
}


@pytest.mark.parametrize(("x", "error", "match"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_wrong_data_are_refused(x: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        fit(toy_model(), x, toy_recipe(), progress=False)


def test_held_out_data_must_be_of_the_same_kind() -> None:
    with pytest.raises(ValueError, match="x and x_test must agree"):
        toy_fit(x_test=X[:, :2])


def test_constant_columns_are_welcome_where_no_scale_is_learned() -> None:
    class FixedScale(FactorModel):
        def forward(self, x: Tensor) -> Tensor:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                law = dist.Normal(self.linear(z), 0.5).to_event(1)
                return pyro.sample("x", law, obs=x)

    fit(FixedScale(), X.index_fill(1, torch.tensor([0]), 1.5), toy_recipe(), progress=False)


def test_arrays_are_data() -> None:
    array = X.numpy().copy()
    array.flags.writeable = False
    assert_same_weights(fit(toy_model(), array, toy_recipe(), progress=False), toy_fit())


def test_fit_is_read_back_from_its_folder(tmp_path: Path) -> None:
    first = toy_fit(folder=tmp_path)
    again = load_fit(toy_model(7), X, toy_recipe(), tmp_path)
    assert_same_weights(first, again)
    assert again.metrics == first.metrics
    with pytest.raises(CheckpointError, match="data_hash was"):
        load_fit(toy_model(7), X + 1, toy_recipe(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint at"):
        load_fit(toy_model(7), X, toy_recipe(), tmp_path / "nowhere")
