"""A run: its programs with their options, data and seed, and what is read back from its folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lvkam_pyro.commands.data import read_data, split
from lvkam_pyro.options import check_count, suggestion
from lvkam_pyro.programs import Program, ProgramError, load_program
from lvkam_pyro.tracing.arguments import hash_data
from lvkam_pyro.tracing.session import seeded_rng
from lvkam_pyro.training.loop import Fit, load_fit
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.run_folder import RunFolder


@dataclass(frozen=True)
class Setup:
    """Everything that decides a run, as `settings.json` keeps it.

    Attributes:
        model: The model program.
        model_options: Its options, as `Program.parse` returns them.
        inference: The recipe's program.
        inference_options: Its options.
        data: A data file, or None for the model program's own data.
        seed: Of the data, the model's first parameters and the training.
        device: Where it computes, as torch names it.
    """

    model: Program
    model_options: Mapping[str, Any]
    inference: Program
    inference_options: Mapping[str, Any]
    data: Path | None = None
    seed: int = 0
    device: str = "cpu"

    def to_settings(self) -> dict[str, object]:
        """The entries of `settings.json`."""
        return {
            "model": {"program": self.model.reference, "options": dict(self.model_options)},
            "inference": {
                "program": self.inference.reference,
                "options": dict(self.inference_options),
            },
            "data": None if self.data is None else str(self.data.resolve()),
            "seed": self.seed,
        }

    def load_data(self) -> tuple[Tensor, Tensor]:
        """Data to train on and held-out data, on the device.

        Raises:
            ProgramError: If the model program cannot load its data.
            ValueError: If the data file cannot be used.
        """
        if self.data is None:
            train, test = self.model.load_data(seed=self.seed)
        else:
            train, test = read_data(self.data, seed=self.seed)
        return train.to(self.device), test.to(self.device)

    def build_model(self, x: Tensor) -> Any:  # noqa: ANN401
        """The model with its first parameters, which the seed decides."""
        with seeded_rng(self.seed, x):
            model = self.model.build(self.model_options)
        if not callable(model):
            raise ProgramError(
                f"{self.model.path} must build a Pyro model, which can be called; it built "
                f"{type(model).__name__}."
            )
        return model.to(self.device) if isinstance(model, nn.Module) else model

    def build_recipe(self) -> Recipe:
        """The recipe."""
        recipe = self.inference.build(self.inference_options)
        if not isinstance(recipe, Recipe):
            raise ProgramError(
                f"{self.inference.path} must build a Recipe; it built {type(recipe).__name__}."
            )
        return recipe

    def hold_out(self, x: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor | None]:
        """Takes a tenth of the training data for early stopping, if the recipe does.

        Returns:
            Data to train on, and to choose the epoch by.

        Raises:
            ValueError: If there is one datum alone.
        """
        if recipe.early_stopping is None:
            return x, None
        if len(x) < 2:
            raise ValueError("Early stopping needs two data, one to hold out; got 1.")
        return split(x, -(-len(x) // 10), seed=self.seed)


@dataclass(frozen=True)
class Run:
    """A run read back from its folder.

    Attributes:
        folder: The folder.
        setup: What it was made of.
        fit: Model, guide and metrics at its newest checkpoint.
        x: The data that it was trained on.
        x_test: The held-out data.
    """

    folder: RunFolder
    setup: Setup
    fit: Fit
    x: Tensor
    x_test: Tensor


def load_setup(folder: RunFolder, *, device: str = "cpu") -> Setup:
    """Reads what a run is made of; its programs are found by name or path and run.

    Raises:
        FileNotFoundError: If the folder holds no run.
        ValueError: If its settings do not name programs.
    """
    settings = folder.read_settings()
    try:
        (model, model_options), (inference, inference_options) = (
            _load(kind, settings[kind]) for kind in ("model", "inference")
        )
        data = settings["data"]
        path = None if data is None else Path(str(data))
        seed = check_count("seed", settings["seed"], minimum=0)
    except ProgramError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{folder.settings} does not say what the run is made of "
            f"({type(error).__name__}: {error}): it was changed, or not made by `lvkam fit`. "
            "Restore it, or fit again."
        ) from error
    return Setup(model, model_options, inference, inference_options, path, seed, device)


def load_run(path: str | Path, *, device: str = "cpu") -> Run:
    """Rebuilds a run from its folder: the programs by name, the weights from the checkpoint.

    Args:
        path: The folder, or the name of a model whose folder is `runs/NAME`.
        device: Where to put it.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If the settings are damaged, or a program cannot be found.
        CheckpointError: If the checkpoint is damaged, or its data have changed.
    """
    folder = find_run(path)
    setup = load_setup(folder, device=device)
    data, x_test = setup.load_data()
    model, recipe = setup.build_model(data), setup.build_recipe()
    x, _ = setup.hold_out(data, recipe)
    fit = load_fit(model, x, recipe, folder.path, seed=setup.seed)
    return Run(folder, setup, fit, x, x_test)


def check_num_data(num_data: int | None) -> None:
    """Raises ValueError unless there is a datum to use."""
    if num_data is not None:
        check_count("--num-data", num_data)


def held_out(run: Run, num_data: int | None) -> Tensor:
    """The first of the run's held-out data, or all."""
    return run.x_test if num_data is None else run.x_test[:num_data]


def shared_data(runs: Mapping[str, Run], num_data: int | None) -> Tensor:
    """The held-out data of all runs.

    Args:
        runs: At least one run, by name.
        num_data: Use the first of them only.

    Raises:
        ValueError: If two runs hold out different data.
    """
    data = {name: held_out(run, num_data) for name, run in runs.items()}
    first, *others = data
    for other in others:
        if hash_data(data[other]) != hash_data(data[first]):
            raise ValueError(
                f"{first} and {other} hold out different data, of shapes "
                f"{tuple(data[first].shape)} and {tuple(data[other].shape)}: their evidence is not "
                "comparable. Fit both with the same --data and --seed."
            )
    return data[first]


def find_run(name: str | Path) -> RunFolder:
    """The folder of a run, given by its path or by the model's name."""
    candidates = [RunFolder(name), default_folder(str(name))]
    for folder in candidates:
        if folder.settings.is_file():
            return folder
    tried = " or ".join(str(folder.path) for folder in candidates)
    near = suggestion(
        str(name), [path.parent.name for path in Path("runs").glob("*/settings.json")]
    )
    raise FileNotFoundError(f"There is no run at {tried}.{near} Make one by `lvkam fit`.")


def default_folder(model: str) -> RunFolder:
    """Where the run of a model is, unless another folder is named: `runs/NAME`."""
    return RunFolder(Path("runs") / Path(model).stem)


def check_device(device: str) -> str:
    """The device's name, once a tensor has been put on it.

    Raises:
        ValueError: If torch cannot compute there; it says what there is.
    """
    try:
        number = torch.zeros(1, device=device)
        reason = "it holds no numbers" if number.is_meta else None
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
    if reason is not None:
        raise ValueError(
            f"Cannot compute on the device {device!r}: {reason}. This machine has: "
            f"{', '.join(available_devices())}."
        )
    return device


def available_devices() -> list[str]:
    """The devices of this machine that torch was built for.

    Example:
        >>> available_devices()[0]
        'cpu'
    """
    gpus = [
        f"cuda:{number} ({torch.cuda.get_device_name(number)})"
        for number in range(torch.cuda.device_count())
    ]
    return ["cpu", *gpus, *(["mps"] if torch.backends.mps.is_available() else [])]


def _load(kind: Any, entry: Any) -> tuple[Program, dict[str, Any]]:  # noqa: ANN401
    program = load_program(kind, entry["program"])
    return program, program.parse(entry["options"])
