"""Data that are not finite: refused, unless the program has a density there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments
from lvkam_pyro.tracing.densities import site_log_prob
from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.session import preserved_rng
from lvkam_pyro.training.arrays import named_tensors
from lvkam_pyro.training.batches import batch_indices, looked_at, row_chunks, take


@contextmanager
def not_finite_named(data: Arguments, name: str) -> Iterator[None]:
    """Says of a program's refusal where its data are not finite, if they are not.

    Args:
        data: The arguments of the program that runs inside.
        name: What the errors call them.

    Yields:
        Nothing.

    Raises:
        ValueError: In the place of another one, if data hold NaN or infinity.

    Example:
        >>> with not_finite_named(Arguments((torch.tensor([1.0, torch.nan]),), {}), "x"):
        ...     raise ValueError("The density is not finite.")
        Traceback (most recent call last):
        ValueError: x holds NaN or infinity in 1 of its 2 entries, first nan at (1,). ...
    """
    try:
        yield
    except ValueError:
        for each, x in named_tensors(data, name):
            check_finite(x, each)
        raise


def check_densities(program: BoundProgram, name: str) -> None:
    """Checks that a program has a density at data that hold NaN or infinity.

    One that masks what is missing has; the data of a plain one have to be finite. Only the batches
    with such data are run.

    Args:
        program: The program on all data.
        name: What the errors call the data.

    Raises:
        ValueError: If a density is not finite where data are not.

    Example:
        >>> import lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(3), lv.KANGenerator(3, 5), lv.NormalLikelihood(5))
        >>> check_densities(lv.bind(model, torch.rand(10, 5)), "x")
    """
    bad = torch.zeros(program.num_units, dtype=torch.bool)
    for x in program.arguments.tensors:
        if x.shape[:1] == bad.shape or program.access is None:
            bad |= _bad_rows(x) if x.shape[:1] == bad.shape else _bad_rows(x[None]).any()
    if not bool(bad.any()):
        return
    with not_finite_named(program.arguments, name), torch.no_grad(), preserved_rng(program.like):
        for index in batch_indices(program, torch.arange(len(bad)), looked_at(program)):
            if bool(bad[index].any()):
                _check_density(take(program, index), name)


def _check_density(batch: BoundProgram, name: str) -> None:
    sites = batch.record_alone().observations.values()
    if not all(bool(site_log_prob(site, batch.structure).isfinite().all()) for site in sites):
        raise ValueError(f"The model has no finite density at {name}, which holds NaN or infinity.")


def _bad_rows(x: Tensor) -> Tensor:
    """Which rows hold NaN or infinity, `(N,)`."""
    if x.ndim == 0 or not x.is_floating_point():
        return torch.zeros(x.shape[:1], dtype=torch.bool)
    parts = [~part.reshape(len(part), -1).isfinite().all(1) for _, part in row_chunks(x)]
    return torch.cat(parts).cpu()


def check_finite(data: Tensor, name: str) -> None:
    """Raises ValueError, with the place of the first, if data hold NaN or infinity.

    Example:
        >>> check_finite(torch.zeros(3), "x")
    """
    count, where = 0, ()
    for first, part in row_chunks(data if data.ndim else data[None]):
        bad = (~part.isfinite()).nonzero()
        if len(bad) and not count:
            row, *rest = bad[0].tolist()
            where = (first + row, *rest)
        count += len(bad)
    if count:
        raise ValueError(
            f"{name} holds NaN or infinity in {count} of its {data.numel()} entries, first "
            f"{data[where].item()} at {where}. Remove or impute them."
        )
