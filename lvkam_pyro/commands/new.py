"""`lvkam new`: a starter project with programs of the user's own."""

import shutil
from pathlib import Path
from string import Template

from lvkam_pyro.programs import load_program
from lvkam_pyro.training.runs.files import write_atomically

_README = Template("""\
# $name

Models and inference of one's own, for `lvkam`. They began as copies of $model and $inference of
lvkam_pyro; change them, or put more files beside them.

    lvkam fit models/$model.py --inference inference/$inference.py
    lvkam evidence runs/$model
    lvkam diagnose runs/$model

- `models/*.py`: a program has `build(*, ...)`, which returns a Pyro model, and
  `load_data(*, seed)`, which returns two tensors: data to train on, and held-out data.
  `--data FILE` takes their place.
- `inference/*.py`: a recipe has `build(*, ...)`, which returns a `lvkam_pyro.Recipe`.
- The options of both are the arguments of `build`: `--set num_epochs=50 num_latents=3`.
- `runs/`: a folder a run. `lvkam resume runs/$model` goes on with one that was stopped.
- `pytest` trains every model for an epoch by every recipe.
""")

_TEST = '''\
"""Every model of this project trains for an epoch by every recipe of it."""

from pathlib import Path

import pytest
from lvkam_pyro.cli import main

PROJECT = Path(__file__).parent.parent
MODELS = sorted((PROJECT / "models").glob("*.py"))
RECIPES = sorted((PROJECT / "inference").glob("*.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("model", MODELS, ids=lambda path: path.stem)
def test_model_trains(model: Path, recipe: Path, tmp_path: Path) -> None:
    short = ["--set", "inference.num_epochs=1"]
    out = ["--out", str(tmp_path / "run")]
    assert main(["fit", str(model), "--inference", str(recipe), *out, *short]) == 0
'''


def new_command(folder: Path, *, model: str = "two_moons", inference: str = "amortized") -> str:
    """Makes a project: a model and a recipe to change, a README and a test.

    Args:
        folder: Where; it must be new or empty.
        model: The model program to begin with: a name, or the path of a `.py` file.
        inference: The recipe to begin with, likewise.

    Returns:
        What to do next, for the terminal.

    Raises:
        FileExistsError: If there is something already.
        ValueError: If a program is unknown.
        OSError: If the folder cannot be written.

    Example:
        lvkam new rings
        lvkam new rings --model digits --inference importance
    """
    programs = [load_program("model", model), load_program("inference", inference)]
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and not empty. Choose another folder.")
    names: dict[str, str] = {program.kind: program.path.stem for program in programs}
    for program, room in zip(programs, ("models", "inference"), strict=True):
        (folder / room).mkdir(parents=True)
        shutil.copyfile(program.path, folder / room / program.path.name)
    (folder / "tests").mkdir()
    texts = {
        "README.md": _README.substitute(names, name=folder.resolve().name),
        "tests/test_project.py": _TEST,
        ".gitignore": "/runs/\n__pycache__/\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    return (
        f"{folder}: a project. Begin with\n"
        f"    cd {folder}\n"
        f"    lvkam fit models/{names['model']}.py --inference inference/{names['inference']}.py"
    )
