"""`lvkam new`: a starter project with programs of the user's own."""

import shutil
from pathlib import Path
from string import Template

from lvkam_pyro.programs import load_program
from lvkam_pyro.training.runs.files import write_atomically

_TEMPLATES = Path(__file__).parent / "project"


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
        "README.md": Template(_read("README.md")).substitute(names, name=folder.resolve().name),
        "tests/test_project.py": _read("test_project.txt"),
        ".gitignore": "/runs/\n__pycache__/\n",
    }
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    return (
        f"{folder}: a project. Begin with\n"
        f"    cd {folder}\n"
        f"    lvkam fit models/{names['model']}.py --inference inference/{names['inference']}.py"
    )


def _read(template: str) -> str:
    return (_TEMPLATES / template).read_text(encoding="utf-8")
