"""`lvkam fit` and `lvkam resume`: train a model and keep the run in a folder."""

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from torch import nn

from lvkam_pyro.commands.data import read_data
from lvkam_pyro.commands.parsers import assign
from lvkam_pyro.commands.pictures import save_pictures
from lvkam_pyro.commands.setup import Setup, default_folder, find_run, load_setup
from lvkam_pyro.programs import load_program
from lvkam_pyro.training.loop import check_training, fit
from lvkam_pyro.training.processes import running_processes
from lvkam_pyro.training.runs.journal import changes_of, metrics_of
from lvkam_pyro.training.runs.run_folder import RunFolder


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
    dry_run: bool = False,
    device: str = "cpu",
) -> str:
    """Trains a model by a recipe, and leaves a run folder with pictures.

    Args:
        model: A model program: its name, or the path of a `.py` file.
        inference: A recipe, likewise.
        assignments: Options `key=value` of the model and the recipe.
        data: Data instead of the model's own: `.npy`, `.npz`, `.csv` or `.parquet`.
        seed: Of everything random.
        out: The run folder; None: `runs/NAME`.
        resume: Go on from the folder's checkpoint, if it has one.
        overwrite: Remove the folder's old run first.
        dry_run: Check everything and say what would be done; write nothing.
        device: Where to compute, as torch names it: `cpu`, `cuda`.

    Returns:
        What was reached, for the terminal.

    Raises:
        ValueError: If a program, an option or the data are wrong; and as `fit` raises.

    Example:
        lvkam fit digits
        lvkam fit digits --inference elbo --set num_epochs=50 num_latents=8 --out runs/elbo
        lvkam fit models/mine.py --inference inference/mine.py --data rings.csv
        lvkam fit digits --config settings.toml --dry-run
    """
    setup = make_setup(model, inference, assignments, data=data, seed=seed, device=device)
    folder = default_folder(model) if out is None else RunFolder(out)
    if not (resume or overwrite):
        running_processes().from_first(folder.check_free)
    if dry_run:
        return describe(setup, folder)
    return train(setup, folder, resume=resume, overwrite=overwrite)


def resume_command(run: str, *, device: str = "cpu") -> str:
    """Goes on with a run from its newest checkpoint, as if it had never been stopped.

    Programs, options, data and seed are those in the run's settings. A run that was stopped before
    its first checkpoint begins anew.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        device: Where to compute, as torch names it: `cpu`, `cuda`.

    Returns:
        What was reached, for the terminal; of a finished run that it is finished.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If its settings are damaged, or a program or the data cannot be found.
        CheckpointError: If its checkpoint is damaged, or its data have changed.

    Example:
        lvkam resume runs/digits
    """
    folder = find_run(run)
    setup = load_setup(folder, device=device)
    if folder.checkpoint.exists():
        metrics = metrics_of(folder.read_checkpoint(), folder)
        # A run is finished once it has its pictures, before which a process may have ended.
        if setup.build_recipe().is_over(metrics) and folder.read_settings().get("finished"):
            return (
                f"{folder.path} is finished, after {len(metrics)} epochs. To train for longer, fit "
                "again into another folder (--out) with a larger num_epochs or patience."
            )
    return train(setup, folder, resume=True)


def train(setup: Setup, folder: RunFolder, *, resume: bool, overwrite: bool = False) -> str:
    """Trains what a setup says into a folder, and draws the pictures.

    Of several processes the first alone writes.

    Args:
        setup: Programs, options, data and seed.
        folder: The run folder.
        resume: Go on from its checkpoint, if it has one.
        overwrite: Remove its old run, once the data are known to fit the model.

    Returns:
        What was reached, for the terminal.

    Raises:
        FolderInUseError: If another process trains into the folder.
    """
    data, x_test = setup.load_data()
    model, recipe = setup.build_model(data), setup.build_recipe()
    x, x_validation = setup.hold_out(data, recipe)
    check_training(model, x, recipe, x_test=x_test, seed=setup.seed)
    processes = running_processes()
    with ExitStack() as owner:
        processes.from_first(lambda: owner.enter_context(folder.owned()))
        if overwrite:
            processes.from_first(folder.clear)
        processes.from_first(lambda: claim(folder, setup, resume=resume))
        result = fit(
            model,
            x,
            recipe,
            x_validation=x_validation,
            x_test=x_test,
            folder=folder.path,
            resume=resume,
            seed=setup.seed,
        )
        if processes.is_first:
            save_pictures(folder, setup, result, x_test)
            folder.write_settings({"finished": recipe.is_over(result.metrics)})
    row = result.metrics[result.epoch - 1]
    best = f" of which {result.epoch} was the best," if recipe.early_stopping else ""
    return (
        f"{folder.path}: {len(result.metrics)} epochs,{best} "
        f"{row['loss_per_datum']:.3f} nats per datum in training, "
        f"{row['held_out_loss_per_datum']:.3f} on {len(x_test)} held-out data"
    )


def describe(setup: Setup, folder: RunFolder) -> str:
    """The settings of a training, in JSON, once its model has been run on a batch of its data.

    Args:
        setup: Programs, options, data and seed.
        folder: Where the run would be.

    Returns:
        The settings that the run would keep, with shapes and sizes.

    Raises:
        ValueError: If the data do not fit the model; see `fit`.
    """
    x, x_test = setup.load_data()
    model, recipe = setup.build_model(x), setup.build_recipe()
    check_training(model, x, recipe, x_test=x_test, seed=setup.seed)
    trained = model.parameters() if isinstance(model, nn.Module) else ()
    sizes = {
        "out": str(folder.path),
        "device": setup.device,
        "data_shape": list(x.shape),
        "held_out_shape": list(x_test.shape),
        "model_parameters": sum(parameter.numel() for parameter in trained),
        "updates": recipe.num_epochs * -(-len(x) // recipe.batch_size),
    }
    return json.dumps({**setup.to_settings(), **sizes}, indent=2)


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
        changes = changes_of(settings, folder.read_settings())
        if changes:
            raise ValueError(
                f"{folder.path} is another run: {changes}. Resume it with what it was started "
                "with, or choose another folder by --out."
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
        num_outputs = read_data(data, seed=seed)[0].shape[1:2].numel()
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
