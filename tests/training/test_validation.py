"""Data that training refuses, by name."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

from lvkam_pyro.training.loop import fit
from tests.training.toy import (
    FactorModel,
    assert_same_weights,
    toy_data,
    toy_fit,
    toy_model,
    toy_recipe,
)

X = toy_data()


WRONG_DATA = {
    "masked": (
        np.ma.masked_equal(np.array([[1.0, -999.0], [2.0, 3.0]]), -999.0),
        ValueError,
        "masks 1 of its 4 entries",
    ),
    "NaN": (
        X.index_fill(0, torch.tensor([3]), torch.nan),
        ValueError,
        r"NaN or infinity in 3 of its 120 entries.*\(3, 0\)",
    ),
    "infinity": (
        X.index_fill(1, torch.tensor([1]), torch.inf),
        ValueError,
        "NaN or infinity in 40",
    ),
    "one number": (X[0, 0], ValueError, r"shape \(N, ...\).*got one number"),
    "one column of another model": (
        X[:, 0],
        ValueError,
        r"data of shape \(3,\); the data are \(\)",
    ),
    "empty": (X[:0], ValueError, r"x is empty: its shape is \(0, 3\)"),
    "no columns": (X[:, :0], ValueError, "x is empty"),
    "complex numbers": (
        X + 1j,
        TypeError,
        r"floating point, .*; got torch.complex",
    ),
    "text": ("digits.npy", TypeError, "must be a tensor or an array; got str"),
    "constant columns": (
        X.index_fill(1, torch.tensor([0, 2]), 1.5),
        ValueError,
        "constant columns.*: 0, 2. Drop",
    ),
    "columns of another model": (
        X[:, :2],
        ValueError,
        r"site 'x' is of data of shape \(3,\); the data are \(2,\)",
    ),
    "double": (X.double(), ValueError, "data are torch.float64.*model is torch.float32"),
}


@pytest.mark.parametrize(("x", "error", "match"), WRONG_DATA.values(), ids=WRONG_DATA)
def test_wrong_data_are_refused(x: object, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        fit(toy_model(), x, toy_recipe(), progress=False)


def test_held_out_data_must_be_of_the_same_kind() -> None:
    with pytest.raises(ValueError, match="x and x_test must agree"):
        toy_fit(x_test=X[:, :2])


def test_constant_columns_are_welcome_where_no_scale_is_learned() -> None:
    class FixedScale(FactorModel):
        def forward(self, x: Tensor) -> Tensor:
            with pyro.plate("data", len(x)):
                z = pyro.sample("z", dist.Normal(x.new_zeros(2), 1.0).to_event(1))
                law = dist.Normal(self.linear(z), 0.5).to_event(1)
                return pyro.sample("x", law, obs=x)

    constant = X.index_fill(1, torch.tensor([0]), 1.5)
    assert len(fit(FixedScale(), constant, toy_recipe(), progress=False).metrics) == 4


def test_arrays_are_data() -> None:
    array = X.numpy().copy()
    array.flags.writeable = False
    assert_same_weights(fit(toy_model(), array, toy_recipe(), progress=False), toy_fit())


def test_data_that_a_model_drew_with_gradients_on_are_cut_from_its_graph() -> None:
    drawn = X + torch.zeros((), requires_grad=True).exp().log()
    assert_same_weights(fit(toy_model(), drawn, toy_recipe(), progress=False), toy_fit())
