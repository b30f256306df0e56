"""What one generation of ArviZ wrote the other one reads."""

from pathlib import Path

import arviz as az
import numpy as np
import pytest
import xarray as xr

from tests.arviz import written
from tests.arviz.test_convert import dataset, groups_of


@pytest.mark.parametrize("generation", written.GENERATIONS)
def test_what_is_read_is_what_is_built(generation: str, tmp_path: Path) -> None:
    found, expected = written.read(generation, tmp_path), written.build()
    assert groups_of(found) == groups_of(expected)
    for group in groups_of(expected):
        one, other = dataset(found, group), dataset(expected, group)
        # In single precision another build of torch may round otherwise.
        xr.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
        assert one.attrs.keys() == other.attrs.keys()
        for name in other.variables:
            assert one[name].dims == other[name].dims
            assert one[name].dtype.kind == other[name].dtype.kind


@pytest.mark.parametrize("generation", written.GENERATIONS)
def test_what_is_read_serves_arviz(generation: str, tmp_path: Path) -> None:
    found = written.read(generation, tmp_path)
    assert list(az.summary(found).index) == ["z[Ann, 0]", "z[Bo, 0]"]
    assert list(found["posterior"]["data"].values) == ["Ann", "Bo"]
    assert np.isnan(found["importance"]["pareto_k"]).sum() == 0
    assert found["posterior"].attrs["num_unreliable"] == 2
