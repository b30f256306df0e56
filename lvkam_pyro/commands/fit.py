"""`lvkam fit`: trains a model and keeps the run in a folder."""

import json
from collections.abc import Sequence
from pathlib import Path

from lvkam_pyro.commands.assignments import assign
from lvkam_pyro.commands.data import read_data
from lvkam_pyro.commands.pictures import save_pictures
from lvkam_pyro.commands.setup import Setup, default_folder
from lvkam_pyro.programs import load_program
from lvkam_pyro.training.loop import fit
from lvkam_pyro.training.run_folder import RunFolder


def fit_command(
    model: str,
    *,
    inference: str = "amortized",
    assignments: Sequence[str] = (),
    data: Path | None = None,
    seed: int = 0,
    out: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "cpu",
) -> str:
    """Trains a model by a recipe, and leaves a run folder with pictures.

    Args:
        model: A model program.
        inference: A recipe.
        assignments: Options `key=value` of both.
        data: A data file instead of the model's own data.
        seed: Of everything.
        out: The run folder; None: `runs/NAME`.
        resume: Go on from the folder's checkpoint.
        overwrite: Remove the folder's old run first.
        device: Where to compute.

    Returns:
        What was reached, for the terminal.

    Raises:
        ValueError: If a program, an option or the data are wrong; and as `fit` raises.
    """
    setup = make_setup(model, inference, assignments, data=data, seed=seed, device=device)
    folder = default_folder(model) if out is None else RunFolder(out)
    x, x_test = setup.load_data()
    initial, recipe = setup.build_model(x), setup.build_recipe()
    if overwrite:
        folder.clear()
    claim(folder, setup, resume=resume)
    result = fit(initial, x, recipe, x_test=x_test, folder=folder.path, resume=resume, seed=seed)
    save_pictures(folder, setup, result, x_test)
    last = result.metrics[-1]
    return (
        f"{folder.path}: {len(result.metrics)} epochs, "
        f"{last['loss_per_datum']:.3f} nats per datum in training, "
        f"{last['held_out_loss_per_datum']:.3f} on {len(x_test)} held-out data"
    )


def claim(folder: RunFolder, setup: Setup, *, resume: bool) -> None:
    """Writes the settings, unless that would take them from another run.

    Raises:
        FileExistsError: If the folder holds a run that is not to be resumed.
        ValueError: If the run to resume was made of other programs, options, data or seed.
    """
    settings = json.loads(json.dumps(setup.to_settings()))
    if not resume:
        folder.check_free()
    elif folder.settings.exists():
        saved = folder.read_settings()
        changed = [
            f"{key} was {json.dumps(saved.get(key))} and is {json.dumps(value)}"
            for key, value in settings.items()
            if saved.get(key) != value
        ]
        if changed:
            raise ValueError(
                f"{folder.path} is another run: {'; '.join(changed)}. Resume it with what it was "
                "started with, or choose another folder by --out."
            )
    folder.write_settings(settings)


def make_setup(
    model: str,
    inference: str,
    assignments: Sequence[str],
    *,
    data: Path | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> Setup:
    """Finds the programs and gives them their options.

    With a data file, a model's option `num_outputs` is the number of its columns unless it is set.

    Raises:
        ValueError: If a program or an option is unknown or wrong.
    """
    programs = {
        "model": load_program("model", model),
        "inference": load_program("inference", inference),
    }
    given = assign(assignments, programs)
    if data is not None and "num_outputs" in programs["model"].options():
        num_outputs = read_data(data, seed=seed)[0].shape[1]
        given["model"].setdefault("num_outputs", str(num_outputs))
    return Setup(
        programs["model"],
        programs["model"].parse(given["model"]),
        programs["inference"],
        programs["inference"].parse(given["inference"]),
        data,
        seed,
        device,
    )
