"""Programs: found by name and by path, built with checked options."""

from pathlib import Path

import pytest

from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.programs import ProgramError, find_package_file, load_program, program_names
from lvkam_pyro.training.recipe import Recipe

RINGS = '''
from dataclasses import dataclass

@dataclass
class Rings:
    width: float
    sizes: tuple[int, ...]

def build(*, width: float = 1.0, sizes: tuple[int, ...] = (1, 2), thick: bool = False) -> Rings:
    """Rings.

    Args:
        width: Of a ring.
        sizes: Of all.
        thick: Or thin.
    """
    if width < 0:
        raise ValueError(f"width must not be negative; got {width}.")
    return Rings(width, sizes)

def load_data(*, seed: int = 0):
    return None, None
'''


def rings(tmp_path: Path, text: str = RINGS) -> str:
    path = tmp_path / "rings.py"
    path.write_text(text)
    return str(path)


def test_bundled_programs_are_listed() -> None:
    models = ["darcy_flow", "digits", "gated_digits", "linear_gaussian", "mnist", "penguins"]
    assert program_names("model") == [*models, "rings", "spectra", "text", "two_moons"]
    recipes = ["amortized", "elbo", "grid_gibbs", "importance", "iwae"]
    others = ["lookahead", "nuts", "rejection", "thermodynamic"]
    assert program_names("inference") == [*recipes, *others]


@pytest.mark.parametrize("name", program_names("inference"))
def test_bundled_recipe_has_its_own_name(name: str) -> None:
    program = load_program("inference", name)
    recipe = program.build({"num_epochs": "3"})
    assert isinstance(recipe, Recipe)
    assert recipe.name == name == program.reference
    assert recipe.num_epochs == 3
    assert recipe.estimators


def test_program_by_path_is_built_with_typed_options(tmp_path: Path) -> None:
    program = load_program("model", rings(tmp_path))
    options = program.parse({"width": "2", "sizes": "[3, 4, 5]", "thick": "true"})
    assert options == {"width": 2.0, "sizes": (3, 4, 5), "thick": True}
    assert program.parse({"width": 2, "sizes": [3, 4, 5], "thick": True}) == options
    built = program.build(options)
    assert (built.width, built.sizes) == (2.0, (3, 4, 5))
    assert program.reference == str(tmp_path / "rings.py")


def test_two_files_of_one_name_do_not_meet(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    first = load_program("model", rings(tmp_path))
    second = load_program("model", rings(tmp_path / "other", RINGS.replace("1.0", "7.0")))
    assert first.build({}).width == 1.0
    assert second.build({}).width == 7.0
    assert type(first.build({})) is not type(second.build({}))


def test_bundled_model_takes_text() -> None:
    model = load_program("model", "digits").build({"num_latents": "3"})
    assert isinstance(model, LVKAM)
    assert model.prior.num_latents == 3


WRONG_FILES = {
    "syntax": ("def build(:", "SyntaxError"),
    "import": ("import no_such_module", "ModuleNotFoundError: .*no_such_module"),
    "no build": ("def load_data(*, seed=0): ...", "has no function build"),
    "no data": ("def build(): ...", "has no function load_data"),
    "empty": ("", "no function build and no load_data"),
}


@pytest.mark.parametrize(("text", "match"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_wrong_file_is_refused(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(ProgramError, match=match):
        load_program("model", rings(tmp_path, text))


WRONG_OPTIONS = {
    "unknown": ({"widht": "1"}, "no option widht.*width=1.0, sizes="),
    "wrong type": ({"width": "wide"}, "rings.*width.*float.*wide"),
    "wrong list": ({"sizes": "5"}, "sizes.*tuple.*5"),
    "refused by the program": ({"width": "-1"}, "Cannot build.*width must not be negative"),
}


@pytest.mark.parametrize(("options", "match"), WRONG_OPTIONS.values(), ids=WRONG_OPTIONS)
def test_wrong_option_is_refused(tmp_path: Path, options: dict[str, object], match: str) -> None:
    with pytest.raises(ProgramError, match=match):
        load_program("model", rings(tmp_path)).build(options)


def test_option_without_a_type_is_refused(tmp_path: Path) -> None:
    text = "def build(*, width): ...\ndef load_data(*, seed=0): ..."
    with pytest.raises(ProgramError, match="width"):
        load_program("model", rings(tmp_path, text)).build({"width": "3"})


@pytest.mark.parametrize("name", ["digit", "../digits", "", "digits.txt"])
def test_unknown_name_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(ProgramError, match=r"no model program.*digits, gated_digits"):
        load_program("model", name)


def test_missing_path_is_refused() -> None:
    with pytest.raises(ProgramError, match=r"no model program at .*nowhere\.py"):
        load_program("model", "nowhere.py")


def test_file_of_a_package_is_found_without_importing_it() -> None:
    file = find_package_file("sklearn", "datasets/data/iris.csv", requirement="scikit-learn")
    assert file.is_file()
    with pytest.raises(ProgramError, match=r"no file nowhere\.csv.*pip install .*'scikit-learn'"):
        find_package_file("sklearn", "nowhere.csv", requirement="scikit-learn")
    with pytest.raises(ProgramError, match=r"none>=2, which is not installed.*'none>=2'"):
        find_package_file("no_such_package", "data.csv", requirement="none>=2")
