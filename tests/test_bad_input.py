"""Mistakes that people make: through the library and through `lvkam`."""

import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO

import lvkam_pyro as lv
from lvkam_pyro.cli import FAILED, OK, WRONG_INPUT, main
from lvkam_pyro.problems.suite import load_problem, make_estimator
from lvkam_pyro.programs import ProgramError, load_program
from lvkam_pyro.training.loop import load_fit
from lvkam_pyro.training.runs.checkpoint import CheckpointError, load_checkpoint

ROOT = Path(__file__).parent.parent
X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
TINY = ("num_epochs=2", "hidden=[4]", "batch_size=400")
FEW = ("num_evidence_particles=64", "num_replicates=2")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the command line, to be copied."""
    folder = tmp_path_factory.mktemp("fitted") / "run"
    assert main(["fit", "two_moons", "--out", str(folder), "--set", *TINY, *FEW]) == OK
    return folder


def model(num_latents: int = 1, domain: tuple[float, float] = (0.0, 1.0)) -> lv.LVKAM:
    basis = lv.BSplineBasis(domain=domain, grid_size=3)
    prior = lv.MixturePrior(num_latents, num_components=1, basis=basis)
    return lv.LVKAM(prior, lv.KANGenerator(num_latents, 2, basis=basis), lv.NormalLikelihood(2))


def recipe() -> lv.Recipe:
    guide = lv.AmortizedGuide
    return lv.Recipe(
        name="tiny",
        build_guide=lambda model, x: guide(model, x, hidden=(4,)),
        objective=Trace_ELBO(),
        num_epochs=2,
        batch_size=20,
    )


def fit(x: object, folder: str | None = None, **options: object) -> lv.fit:
    torch.manual_seed(0)
    return lv.fit(model(), x, recipe(), folder=folder, progress=False, **options)


def changed(row: int, column: int, value: float) -> np.ndarray:
    x = X.copy()
    x[row, column] = value
    return x


@dataclass(frozen=True)
class Case:
    """One mistake: in a call, and in a command line."""

    call: Callable[[], object]
    error: type[Exception]
    says: str
    command: tuple[str, ...]
    told: str | None = None
    data: np.ndarray | None = None
    code: int = WRONG_INPUT
    damage: Callable[[bytes], bytes] | None = None


def of_data(x: np.ndarray, says: str, *options: str) -> Case:
    """The array, handed to fit() and as a file to `lvkam fit`."""
    command = ("--data", "x.npy", "--set", "num_latents=1", *TINY, *options)
    return Case(lambda: fit(x), ValueError, says, ("fit", "two_moons", *command), data=x)


def of_checkpoint(damage: Callable[[bytes], bytes]) -> Case:
    """A checkpoint whose bytes were changed, read back by load_fit() and by `lvkam resume`."""

    def read() -> object:
        fit(X, "runs/two_moons")
        spoil(Path("runs/two_moons/checkpoint.pt"), damage)
        return load_fit(model(), X, recipe(), "runs/two_moons")

    says = r"checkpoint\.pt is damaged"
    command = ("resume", "runs/cli")
    return Case(read, CheckpointError, says, command, code=FAILED, damage=damage)


def spoil(path: Path, damage: Callable[[bytes], bytes]) -> None:
    path.write_bytes(damage(path.read_bytes()))


def flip_a_bit(content: bytes) -> bytes:
    """One bit of a weight, which no length and no header shows."""
    place = len(content) // 2
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def other_model() -> object:
    fit(X, "runs/two_moons")
    return load_fit(model(2), X, recipe(), "runs/two_moons")


OWN_DOMAIN = '''
from tests.test_bad_input import X, model, torch

def build(*, low: float = 0.0, high: float = 1.0):
    """A model on a domain of one's own.

    Args:
        low: Its lower end.
        high: Its upper end.
    """
    return model(domain=(low, high))

def load_data(*, seed: int):
    return torch.tensor(X), torch.tensor(X)
'''

CASES = {
    "NaN": of_data(changed(3, 1, np.nan), r"NaN or infinity in 1 of .* first nan at \(\d+, 1\)"),
    "infinity": of_data(changed(3, 1, -np.inf), r"NaN or infinity in 1 of .* first -inf"),
    "one dimension": of_data(X[:, 0], r"of data of shape \(\d,\); the data are \(\)"),
    "too many columns": of_data(
        np.concatenate([X, X + 1], 1), r"of data of shape \(2,\); the data are \(4,\)",
        "num_outputs=2",
    ),
    "constant column": of_data(X * np.float32([1, 0]), "constant columns, .*: 1. Drop"),
    "too few columns": of_data(
        X[:, :1], r"of data of shape \(2,\); the data are \(1,\)", "num_outputs=2",
    ),
    "images for rows": of_data(
        X.reshape(10, 2, 4), r"of data of shape \(2,\); the data are \(2, 4\)", "num_outputs=2",
    ),
    "words": Case(
        lambda: fit([["tall", "wide"]]), TypeError, "x must be a tensor or an array; got list",
        ("fit", "two_moons", "--data", "x.npy"), r"x\.npy must hold numbers; it holds <U4",
        data=np.array([["tall", "wide"]]),
    ),
    "complex numbers": Case(
        lambda: fit(X + 1j), TypeError, "must be floating point, .* got torch.complex64",
        ("fit", "two_moons", "--data", "x.npy"), r"x\.npy must hold numbers; it holds complex64",
        data=X + 1j,
    ),
    "no rows": of_data(X[:0], r"is empty: its shape is \(0, 2\)"),
    "no columns": of_data(X[:, :0], r"is empty: its shape is \(40, 0\)"),
    "no latent": Case(
        lambda: model(0), ValueError, "num_latents >= 1, but got 0",
        ("fit", "two_moons", "--set", "num_latents=0"),
    ),
    "half a latent": Case(
        lambda: model(1.5), TypeError, "num_latents to be an integer, but got 1.5",
        ("fit", "two_moons", "--set", "num_latents=1.5"), "num_latents.*int.*1.5",
    ),
    "no component": Case(
        lambda: lv.MixturePrior(2, num_components=0), ValueError, "num_components >= 1, but got 0",
        ("fit", "two_moons", "--set", "num_components=0"),
    ),
    "negative noise": Case(
        lambda: lv.NormalLikelihood(2, scale=-1.0), ValueError, "0 < min_scale < scale, .*-1",
        ("fit", "two_moons", "--set", "scale=-1"),
    ),
    "no epoch": Case(
        lambda: replace(recipe(), num_epochs=0), ValueError, "num_epochs >= 1",
        ("fit", "two_moons", "--set", "num_epochs=0"),
    ),
    "no learning rate": Case(
        lambda: replace(recipe(), learning_rate=np.nan), ValueError, "learning_rate.*nan",
        ("fit", "two_moons", "--set", "learning_rate=nan"),
    ),
    "domain turned round": Case(
        lambda: model(1, (1.0, 0.0)), ValueError, r"domain",
        ("fit", "own.py", "--set", "low=1", "high=0"),
    ),
    "domain without width": Case(
        lambda: model(1, (1.0, 1.0)), ValueError, r"domain",
        ("fit", "own.py", "--set", "low=1", "high=1"),
    ),
    "missing file": Case(
        lambda: load_checkpoint("nowhere/checkpoint.pt"), FileNotFoundError,
        r"no checkpoint at nowhere/checkpoint\.pt",
        ("fit", "two_moons", "--data", "nowhere.npy"), r"no data file nowhere\.npy",
    ),
    "missing run": Case(
        lambda: load_fit(model(), X, recipe(), "nowhere"), FileNotFoundError,
        r"no checkpoint at nowhere/checkpoint\.pt",
        ("resume", "nowhere"), "no run at nowhere or runs/nowhere",
    ),
    "unknown name": Case(
        lambda: lv.MixturePrio, AttributeError,
        "No lvkam_pyro attribute MixturePrio",
        ("fit", "two_moon"), "no model program 'two_moon'. Did you mean 'two_moons'[?]",
    ),
    "unknown recipe": Case(
        lambda: lv.fit(model(), X, "amortized"), TypeError, r"must be a Recipe.*; got 'amortized'",
        ("fit", "two_moons", "--inference", "amortised"),
        "no inference program 'amortised'. Did you mean 'amortized'[?]",
    ),
    "unknown option": Case(
        lambda: load_program("model", "two_moons").build({"num_latent": 1}), ProgramError,
        "no option num_latent. Did you mean 'num_latents'[?]",
        ("fit", "two_moons", "--set", "num_latent=1"),
        "No option is called 'num_latent'. Did you mean 'num_latents'[?]",
    ),
    "unknown problem": Case(
        lambda: load_problem("bananas"), ValueError, "no problem 'bananas'. Did you mean 'banana'",
        ("validate", "--families", "bananas"),
    ),
    "unknown estimator": Case(
        lambda: make_estimator("Importanc"), ValueError,
        "no estimator 'Importanc'. Did you mean 'Importance'",
        ("validate", "--families", "banana", "--estimators", "Importanc"),
    ),
    "program that fails": Case(
        lambda: load_program("model", "broken.py"), ProgramError, "broken.py fails: NameError",
        ("fit", "broken.py"),
    ),
    "model with other options": Case(
        other_model, CheckpointError, "another model or guide",
        ("fit", "two_moons", "--out=runs/cli", "--resume", "--set", *TINY, *FEW, "num_latents=3"),
        "runs/cli is another run: model was .*num_latents", damage=lambda content: content,
    ),
    "cut checkpoint": of_checkpoint(lambda content: content[: len(content) // 2]),
    "flipped bit": of_checkpoint(flip_a_bit),
    "empty checkpoint": of_checkpoint(lambda content: b""),
    "text for a checkpoint": of_checkpoint(lambda content: b"epoch 3"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_library_refuses_it_by_name(case: Case) -> None:
    Path("broken.py").write_text("no_such_name")
    with pytest.raises(case.error, match=case.says):
        case.call()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_command_refuses_it_in_one_line(
    case: Case, fitted: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("own.py").write_text(OWN_DOMAIN)
    Path("broken.py").write_text("no_such_name")
    if case.data is not None:
        np.save("x.npy", case.data)
    if case.damage is not None:
        shutil.copytree(fitted, "runs/cli")
        spoil(Path("runs/cli/checkpoint.pt"), case.damage)
    capsys.readouterr()
    assert main(list(case.command)) == case.code
    said = capsys.readouterr().err
    assert re.match(f"lvkam: error: .*{case.told or case.says}", said), said
    assert said.count("\n") == 1
    assert case.damage is not None or not Path("runs").exists()


def test_data_that_changed_since_the_fit_are_not_taken_for_its_own(
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.save("x.npy", X)
    assert main(["fit", "two_moons", "--data", "x.npy", "--set", *TINY]) == OK
    for x, code, says in (
        (X + 1, FAILED, "belongs to another training: data_hash was"),
        (changed(3, 1, np.nan), WRONG_INPUT, "NaN or infinity in 1"),
    ):
        np.save("x.npy", x)
        for command in ("evidence", "sample", "diagnose", "compare"):
            assert main([command, "two_moons"]) == code
            assert says in capsys.readouterr().err


def test_held_out_data_of_another_kind_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    says = "x and x_test must agree in shape"
    for wrong in (X[:, :1], np.concatenate([X, X], 1)):
        with pytest.raises(ValueError, match=says):
            fit(X, x_test=wrong)
        np.savez("x.npz", x_train=X, x_test=wrong)
        assert main(["fit", "two_moons", "--data", "x.npz", "--set", *TINY]) == WRONG_INPUT
        assert says in capsys.readouterr().err


ESTIMATORS = {
    "importance": lv.evidence.Importance(64),
    "quadrature": lv.evidence.Quadrature(),
    "ladder": lv.evidence.SteppingStone(
        lv.ladder.Ladder(num_temperatures=3, num_chains=2, num_samples=4)
    ),
    "look-ahead": lv.evidence.Lookahead(64),
    "any": lv.evidence.Auto(),
}
UNUSABLE = {
    "NaN": (torch.tensor(changed(3, 1, np.nan)), ValueError, "finite"),
    "infinity": (torch.tensor(changed(0, 0, np.inf)), ValueError, "finite"),
    "no rows": (torch.tensor(X[:0]), ValueError, "empty|at least one"),
    "array": (X, TypeError, "tensor"),
}


@pytest.mark.parametrize("x", UNUSABLE)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_evidence_of_unusable_data_is_refused(name: str, x: str) -> None:
    data, error, match = UNUSABLE[x]
    with pytest.raises(error, match=match):
        ESTIMATORS[name].estimate(model(), data)
