"""`lvkam resume`: goes on with a run that was stopped."""

from lvkam_pyro.commands.fit import train
from lvkam_pyro.commands.setup import find_run, load_setup
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.runs.journal import metrics_of
from lvkam_pyro.training.runs.run_folder import RunFolder


def resume_command(run: str, *, device: str = "cpu") -> str:
    """Goes on with a run from its newest checkpoint, as if it had never been stopped.

    Programs, options, data and seed are those in the run's settings. A run that was stopped before
    its first checkpoint begins anew.

    Args:
        run: A run folder, or the name of a model whose folder is `runs/NAME`.
        device: Where to compute.

    Returns:
        What was reached, for the terminal.

    Raises:
        FileNotFoundError: If there is no run.
        FileExistsError: If it is finished.
        ValueError: If its settings are damaged, or a program or the data cannot be found.
        CheckpointError: If its checkpoint is damaged, or its data have changed.
    """
    folder = find_run(run)
    setup = load_setup(folder, device=device)
    if folder.checkpoint.exists():
        _check_unfinished(folder, setup.build_recipe())
    return train(setup, folder, resume=True)


def _check_unfinished(folder: RunFolder, recipe: Recipe) -> None:
    metrics = metrics_of(folder.read_checkpoint(), folder)
    if recipe.is_over(metrics):
        raise FileExistsError(
            f"{folder.path} is finished, after {len(metrics)} epochs. To train for longer, fit "
            "again into another folder (--out) with a larger num_epochs or patience."
        )
