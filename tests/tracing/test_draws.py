"""Draws that somebody has already, in the layout of a bound program: every value in its place."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.tracing.bind import bind
from lvkam_pyro.tracing.draws import read_draws
from lvkam_pyro.tracing.program import BoundProgram
from tests.tracing import models


def crossed(x: Tensor) -> None:
    """A shared vector, rows and columns: one evidence."""
    shared = pyro.sample("shared", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    rows, columns = (
        pyro.plate("rows", x.shape[0], dim=-2),
        pyro.plate("columns", x.shape[1], dim=-1),
    )
    with rows:
        row = pyro.sample("row", dist.Normal(0.0, 1.0))
    with columns:
        column = pyro.sample("column", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with rows, columns:
        loc = shared.sum(-1) + row + column.sum(-1)
        pyro.sample("x", dist.Normal(loc, 1.0), obs=x)


def count_up(*shape: int) -> Tensor:
    return torch.arange(float(torch.Size(shape).numel())).reshape(shape)


def read(draws: dict[str, Tensor], program: BoundProgram) -> dict[str, Tensor]:
    with program.session(seed=0):
        return read_draws(draws, program)


SHAPES = {"shared": (2,), "row": (3, 1), "column": (4, 2)}
INNER = {"shared": (2,), "row": (3,), "column": (4, 2)}


def test_a_data_set_has_one_unit_and_its_plates_inside() -> None:
    draws = {name: count_up(5, 7, *shape) for name, shape in SHAPES.items()}
    found = read(draws, bind(crossed, torch.zeros(3, 4)))
    for name, inner in INNER.items():
        assert found[name].shape == (7, 5, 1, *inner)
        for draw, chain in ((0, 0), (6, 1), (2, 4)):
            value = draws[name][chain, draw].reshape(inner)
            assert torch.equal(found[name][draw, chain, 0], value), name


def test_data_are_units() -> None:
    draws = {"a": count_up(6, 3), "b": count_up(6, 3, 2)}
    found = read(draws, bind(models.two_sites, torch.zeros(3)))
    for name, values in draws.items():
        assert torch.equal(found[name][:, 0], values)


@pytest.mark.parametrize("is_flat", [True, False])
def test_values_have_the_programs_precision(is_flat: bool) -> None:
    shape = (8,) if is_flat else (2, 4)
    draws = {"a": torch.zeros(*shape, 3).double(), "b": torch.zeros(*shape, 3, 2).double()}
    found = read(draws, bind(models.two_sites, torch.zeros(3)))
    assert found["b"].shape == ((8, 1, 3, 2) if is_flat else (4, 2, 3, 2))
    assert found["b"].dtype == torch.float32
