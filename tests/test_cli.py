"""The command line: what it leaves, what it says, and its exit codes."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import arviz as az
import numpy as np
import pytest
import torch

from lvkam_pyro.cli import FAILED, INTERRUPTED, OK, TERMINATED, WRONG_INPUT, main
from lvkam_pyro.training.runs.checkpoint import load_checkpoint

ROOT = Path(__file__).parent.parent
QUICK = ("num_epochs=2", "hidden=[8]", "num_evidence_particles=64", "num_replicates=2")

PICTURES = (
    "samples",
    "loss",
    "densities",
    "evidence",
    "functions",
    "thermodynamic",
    "traversals",
)

STOPPING = '''
"""A recipe that is stopped in its third epoch, as long as a file says so."""

import signal
from pathlib import Path

import torch
from pyro.infer import Trace_ELBO

from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.training.recipe import Recipe

CALLS = iter(range(10**6))


def build(*, switch: str) -> Recipe:
    """Builds it.

    Args:
        switch: The file with the name of the error.
    """
    return Recipe(
        name="stopping",
        build_guide=lambda model, x: AmortizedGuide(model, x, hidden=(8,)),
        objective=Trace_ELBO(),
        num_epochs=4,
        batch_size=800,
        regularizer=lambda model: stop(model, Path(switch)),
    )


def stop(model, switch):
    if next(CALLS) < 5 or not switch.exists():
        return torch.zeros(())
    kind = switch.read_text()
    if kind == "diverge":
        return model.prior.functions.coefficients.sum() * torch.inf
    if kind == "terminate":
        signal.raise_signal(signal.SIGTERM)
    raise {"interrupt": KeyboardInterrupt, "bug": LookupError}[kind]("stopped")
'''


_NO_MODEL = "def build(*, width: int = 1):\n    return width\n"
_NO_DATA = "def build(*, width: int = 1):\n    return lambda x: x\n"
_LOAD = "def load_data(*, seed=0):\n    return torch.rand(9, 2), torch.rand(9, 2)\n"
WRONG_PROGRAMS = {
    "no model": (_NO_MODEL + _LOAD, "must build a Pyro model, which can be called; it built int"),
    "no site": (_NO_DATA + _LOAD, "The model observes nothing"),
    "no tensors": (_NO_DATA + _LOAD.replace("torch.rand(9, 2)", "[1]"), "loads list and list"),
    "one tensor": (_NO_DATA + "def load_data(*, seed): return [1]\n", "Cannot load the data of"),
    "no seed": (_NO_DATA + "def load_data(): ...\n", "unexpected keyword argument 'seed'"),
    "untyped": ("def build(*, width): ...\n" + _LOAD, "'width' from"),
}

_PROGRAMS = '"model": {"program": "two_moons", "options": {}}, "inference": '
NONSENSE = (
    "{}",
    '{"model": 3}',
    f'{{{_PROGRAMS} {{"program": 3, "options": {{}}}}, "data": null, "seed": 0}}',
    f'{{{_PROGRAMS} {{"program": "elbo", "options": {{}}}}, "data": null, "seed": "x"}}',
    f'{{{_PROGRAMS} {{"program": "elbo", "options": {{}}}}, "data": null, "seed": -4}}',
)


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lvkam(*arguments: object) -> int:
    return main([*map(str, arguments), "--threads", str(torch.get_num_threads())])


def fit(*arguments: object) -> int:
    return lvkam("fit", "two_moons", *arguments, "--set", *QUICK)


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(Path(folder) / "checkpoint.pt")["module"]


def test_fit_then_every_other_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == OK
    said = capsys.readouterr()
    assert "runs/two_moons: 2 epochs" in said.out
    assert not said.err, "a bar was drawn although stderr is no terminal"
    settings = json.loads(Path("runs/two_moons/settings.json").read_text())
    assert settings["model"]["program"] == "two_moons"
    assert settings["inference"]["options"]["hidden"] == [8]

    recipes = (
        "importance",
        "amortized",
        "iwae",
        "elbo",
        "lookahead",
        "grid_gibbs",
        "rejection",
        "nuts",
        "thermodynamic",
    )
    ladder = ("num_temperatures=3", "num_chains=2", "num_warmup=3", "num_samples=4")
    ladder += ("num_ladder_warmup=3", "num_ladder_samples=4")
    few = ("num_evidence_particles=64", *ladder)
    compared = ("two_moons", "--inference", *recipes, "--set", *few, "--num-data", 6)
    assert lvkam("compare", *compared) == OK
    table = capsys.readouterr().out
    assert "6 held-out data of two_moons" in table
    assert all(recipe in table for recipe in recipes)
    lines = Path("runs/two_moons/evidence.csv").read_text().splitlines()
    rows = list(csv.DictReader(lines))
    assert [row["recipe"] for row in rows] == [*recipes, "thermodynamic"]
    assert {row["model"] for row in rows} == {"two_moons"}

    assert lvkam("evidence", "runs/two_moons", "--num-data", 5) == OK
    assert len(json.loads(Path("runs/two_moons/evidence.json").read_text())) == 1

    assert lvkam("sample", "two_moons", "--num-samples", 7) == OK
    assert np.load("runs/two_moons/samples.npy").shape == (7, 2)

    assert lvkam("diagnose", "two_moons", "--num-data", 3) == OK
    assert "verdict" in capsys.readouterr().out
    posterior = az.from_netcdf("runs/two_moons/posterior.nc")
    assert posterior["posterior"]["z"].sizes["data"] == 3
    assert "<img" in Path("runs/two_moons/report.html").read_text()
    plots = {path.name for path in Path("runs/two_moons/plots").iterdir()}
    assert plots == {f"{name}.png" for name in PICTURES}


def test_exact_evidence_is_shown_where_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert lvkam("fit", "linear_gaussian", "--set", *QUICK) == OK
    assert lvkam("evidence", "linear_gaussian", "--num-data", 4) == OK
    assert "exact: -" in capsys.readouterr().out


def test_data_file_sets_the_number_of_outputs(capsys: pytest.CaptureFixture[str]) -> None:
    np.savetxt("rings.csv", np.random.default_rng(0).normal(size=(60, 3)), delimiter=",")
    assert fit("--data", "rings.csv", "--out", "here") == OK
    settings = json.loads(Path("here/settings.json").read_text())
    assert settings["model"]["options"]["num_outputs"] == 3
    assert settings["data"] == str(Path("rings.csv").resolve())
    assert lvkam("evidence", "here") == OK
    Path("rings.csv").unlink()
    assert lvkam("evidence", "here") == WRONG_INPUT
    assert "no data file" in capsys.readouterr().err


def test_settings_may_come_from_a_file() -> None:
    Path("quick.toml").write_text('seed = 3\nout = "from_file"\n')
    assert fit("--config", "quick.toml") == OK
    assert json.loads(Path("from_file/settings.json").read_text())["seed"] == 3


@pytest.mark.parametrize(
    ("kind", "code", "match"),
    [
        ("interrupt", INTERRUPTED, "interrupted. Whole epochs are kept; go on by: lvkam fit"),
        ("terminate", TERMINATED, "terminated. Whole epochs are kept; go on by: lvkam fit"),
        ("diverge", FAILED, "error: Training diverged at epoch 3, batch 2"),
        ("bug", FAILED, "error: LookupError: stopped (--debug shows where)"),
    ],
)
def test_stopped_fit_says_so_and_is_resumed_bit_for_bit(
    kind: str, code: int, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("stopping.py").write_text(STOPPING)
    command = ("fit", "two_moons", "--inference", "stopping.py", "--set", "switch=switch")
    assert lvkam(*command, "--out", "unbroken") == OK
    Path("switch").write_text(kind)
    assert lvkam(*command, "--out", "broken") == code
    error = capsys.readouterr().err
    assert match in error
    assert "Traceback" not in error
    assert len(load_checkpoint("broken/checkpoint.pt")["metrics"]) == 2
    Path("switch").unlink()
    assert lvkam(*command, "--out", "broken", "--resume") == OK
    first, second = weights("unbroken"), weights("broken")
    assert all(torch.equal(first[name], second[name]) for name in first)


WRONG_USAGE = {
    "nothing": ([], 'expected "command" to be one of'),
    "unknown command": (["train"], "invalid choice: 'train'"),
    "no model": (["fit"], "required: fit.model"),
    "unknown flag": (["fit", "two_moons", "--nope"], "unrecognized arguments: --nope"),
    "abbreviation": (["fit", "two_moons", "--infer", "elbo"], "unrecognized arguments"),
    "seed": (["fit", "two_moons", "--seed", "x"], 'key "seed".*x'),
    "negative seed": (["fit", "two_moons", "--seed=-1"], "--seed >= 0"),
    "seed of 33 bits": (["fit", "two_moons", "--seed", str(2**32)], r"--seed < 2\^32"),
    "threads": (["fit", "two_moons", "--threads", "0"], "--threads >= 1"),
    "device": (["fit", "two_moons", "--device", "abacus"], "Cannot compute .* 'abacus'"),
    "unknown model": (["fit", "moons"], "no model program 'moons'.*digits"),
    "missing program": (["fit", "moons.py"], r"no model program at .*moons\.py"),
    "unknown recipe": (["fit", "two_moons", "--inference", "mcmc"], "amortized, elbo"),
    "unknown option": (["fit", "two_moons", "--set", "rate=1"], "No option .*'rate'.*num_latents"),
    "no assignment": (["fit", "two_moons", "--set", "num_epochs"], "takes key=value"),
    "unknown prefix": (["fit", "two_moons", "--set", "data.seed=1"], "no 'data' here"),
    "wrong value": (["fit", "two_moons", "--set", "num_epochs=many"], "num_epochs.*int.*many"),
    "no latent": (["fit", "two_moons", "--set", "num_latents=0"], "num_latents >= 1, but got 0"),
    "no cell": (["fit", "two_moons", "--set", "grid_size=0"], "grid_size >= 1, but got 0"),
    "no spread": (["fit", "two_moons", "--set", "scale=-1"], "min_scale < scale, .*-1"),
    "no epoch": (["fit", "two_moons", "--set", "num_epochs=0"], "num_epochs >= 1"),
    "no batch": (["fit", "two_moons", "--set", "batch_size=0"], "batch_size >= 1"),
    "one particle": (["fit", "two_moons", "--set", "num_particles=1"], "2 particles, .* 1"),
    "descent uphill": (["fit", "two_moons", "--set", "learning_rate=-1"], "above 0; got -1"),
    "no rate": (["fit", "two_moons", "--set", "learning_rate=nan"], "learning_rate.*nan"),
    "a folder of data": (["fit", "two_moons", "--data", "."], "no data file ."),
    "missing data": (["fit", "two_moons", "--data", "x.npy"], r"no data file x\.npy"),
    "missing settings": (["fit", "two_moons", "--config", "x.toml"], r"no settings file x\.toml"),
    "missing run": (["evidence", "nowhere"], "no run at nowhere or runs/nowhere"),
    "no data": (["compare", "two_moons", "--num-data", "0"], "--num-data >= 1"),
    "no sample": (["sample", "two_moons", "--num-samples", "0"], "num_samples >= 1"),
}


@pytest.mark.parametrize(("arguments", "match"), WRONG_USAGE.values(), ids=WRONG_USAGE)
def test_wrong_usage_is_one_line_and_exit_code_two(
    arguments: list[str], match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == WRONG_INPUT
    captured = capsys.readouterr()
    assert re.search(match, captured.err), captured.err
    assert captured.err.startswith("lvkam: error: ")
    assert captured.err.count("\n") == 1
    assert not Path("runs").exists()


def test_wrong_data_are_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).normal(size=(60, 2))
    wrong = {
        "nan": (np.where(x > 1, np.nan, x), "NaN or infinity"),
        "constant": (x * [1, 0], "constant columns"),
        "empty": (x[:0], "is empty"),
        "flat": (x[:, 0], "of data of shape (1,); the data are ()"),
    }
    for name, (array, match) in wrong.items():
        np.save(f"{name}.npy", array)
        assert fit("--data", f"{name}.npy") == WRONG_INPUT, name
        assert match in capsys.readouterr().err
    np.save("wide.npy", np.concatenate([x, x + 1], 1))
    assert fit("--data", "wide.npy", "--set", "num_outputs=3") == WRONG_INPUT


def test_run_is_protected(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == OK
    before = Path("runs/two_moons/checkpoint.pt").read_bytes()
    assert fit() == WRONG_INPUT
    assert "holds a run already" in capsys.readouterr().err
    assert fit("--resume", "--seed", 1) == WRONG_INPUT
    assert "seed was 0 and is 1" in capsys.readouterr().err
    assert Path("runs/two_moons/checkpoint.pt").read_bytes() == before
    assert fit("--resume") == OK
    assert fit("--overwrite", "--seed", 1) == OK
    assert Path("runs/two_moons/checkpoint.pt").read_bytes() != before


def test_damaged_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert fit() == OK
    checkpoint, settings = (Path("runs/two_moons", n) for n in ("checkpoint.pt", "settings.json"))
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[: len(content) // 2])
    assert lvkam("sample", "two_moons") == FAILED
    assert "checkpoint.pt is damaged" in capsys.readouterr().err
    assert fit("--resume") == FAILED
    settings.write_text("{")
    assert lvkam("sample", "two_moons") == WRONG_INPUT
    assert "settings.json is damaged" in capsys.readouterr().err
    for nonsense in NONSENSE:
        settings.write_text(nonsense)
        assert lvkam("sample", "two_moons") == WRONG_INPUT, nonsense
        assert "it was changed, or not made by `lvkam fit`" in capsys.readouterr().err
    settings.unlink()
    assert lvkam("sample", "two_moons") == WRONG_INPUT
    assert "There is no run" in capsys.readouterr().err


def test_file_in_the_place_of_a_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert fit("--out", "file") == WRONG_INPUT
    assert "file is a file; a run needs a folder there" in capsys.readouterr().err
    Path("run").mkdir()
    Path("run/plots").touch()
    assert fit("--out", "run") == WRONG_INPUT
    assert "run/plots is a file; a run needs a folder there" in capsys.readouterr().err


@pytest.mark.parametrize(("program", "match"), WRONG_PROGRAMS.values(), ids=WRONG_PROGRAMS)
def test_wrong_program_is_refused_by_name(
    program: str, match: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("program.py").write_text(f"import torch\n{program}")
    assert lvkam("fit", "program.py") == WRONG_INPUT
    assert match in capsys.readouterr().err


def test_recipe_program_must_build_a_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    Path("recipe.py").write_text("def build(*, num_epochs: int = 1):\n    return num_epochs\n")
    assert lvkam("fit", "two_moons", "--inference", "recipe.py") == WRONG_INPUT
    assert "recipe.py must build a Recipe; it built int" in capsys.readouterr().err


def test_only_a_process_of_its_own_chooses_the_backend() -> None:
    script = """
import sys, matplotlib
from lvkam_pyro.cli import main
sys.argv = ["lvkam", "fit", "moons"]
for arguments in (sys.argv[1:], None):
    main(arguments)
    print(matplotlib.get_backend())
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "svg"}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.split() == ["svg", "agg"]


def test_guide_that_was_not_fitted_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert lvkam("fit", "two_moons", "--inference", "importance", "--set", "num_epochs=1") == OK
    assert lvkam("compare", "two_moons", "--inference", "elbo") == WRONG_INPUT
    assert "a guide that must be fitted" in capsys.readouterr().err
    quick = ("num_temperatures=3", "num_chains=2", "num_warmup=3", "num_samples=4")
    ladder = ("--inference", "thermodynamic", "--num-data", 2, "--set", *quick)
    assert lvkam("compare", "two_moons", *ladder) == OK
    assert lvkam("compare", "digits", "--run", "runs/two_moons") == WRONG_INPUT
    assert "is a run of two_moons, not of digits" in capsys.readouterr().err


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(ValueError, match="no model program"):
        lvkam("fit", "moons", "--debug")


def test_version_and_help_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["--help"], ["compare", "--help"]):
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 0
    assert "lvkam_pyro 0." in capsys.readouterr().out


def test_process_returns_the_exit_code() -> None:
    command = [sys.executable, "-m", "lvkam_pyro.cli", "fit", "moons"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == WRONG_INPUT
    assert done.stderr.startswith("lvkam: error: There is no model program 'moons'")
