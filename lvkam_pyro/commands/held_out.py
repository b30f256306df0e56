"""The held-out data of runs: how many, and that several runs have the same."""

from collections.abc import Mapping

from torch import Tensor

from lvkam_pyro.commands.setup import Run
from lvkam_pyro.tracing.arguments import hash_data
from lvkam_pyro.tracing.options import check_count


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
