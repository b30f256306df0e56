"""Whatever to_arviz takes, ArviZ's own functions run on what it gives, as it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import arviz as az
import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr

from tests.arviz.sources import SOURCES, converted
from tests.arviz.test_convert import dataset, groups_of

IS_TREE = az.__version__ >= "1"
PREDICTIVE = ["plot_ppc_dist", "plot_prior_posterior"] if IS_TREE else ["plot_ppc", "plot_bpv"]
PLOTS = [
    *(["plot_trace_dist", "plot_dist"] if IS_TREE else ["plot_trace", "plot_posterior"]),
    "plot_forest",
    "plot_rank",
    "plot_ess",
    "plot_autocorr",
]
ALONE = {"particles", "ladder", "evidence", "comparison"}
"""Sources without a model, hence without predictions."""
ONE_NUMBER = ["mcmc of all data", "svi of all data", "autoguide"]
"""Those whose data are one number each and share their latents, as LOO-PIT needs them."""

pytestmark = pytest.mark.filterwarnings(
    # ArviZ's advice on 100 draws, and what it calls in matplotlib and pandas.
    "ignore::UserWarning",
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:The inplace keyword",
)


@pytest.fixture(autouse=True)
def no_window() -> Iterator[None]:
    backend = mpl.get_backend()
    plt.switch_backend("agg")
    yield
    plt.close("all")
    plt.switch_backend(backend)


@pytest.mark.parametrize("source", SOURCES)
def test_statistics(source: str) -> None:
    idata = converted(source)
    num_scalars = sum(v.size for v in dataset(idata, "posterior").data_vars.values())
    num_scalars //= dataset(idata, "posterior").sizes["chain"]
    num_scalars //= dataset(idata, "posterior").sizes["draw"]
    summary = az.summary(idata)
    assert len(summary) == num_scalars
    assert not summary.isna().any(axis=None)
    for function in (az.ess, az.rhat, az.mcse, az.hdi):
        found = function(idata)
        found = found.to_dataset() if isinstance(found, xr.DataTree) else found
        assert all(np.isfinite(values).all() for values in found.data_vars.values())
    loo = az.loo(idata)
    assert np.isfinite(loo["elpd_loo"] if "elpd_loo" in dir(loo) else loo.elpd)
    assert len(az.compare({"one": idata, "other": idata})) == 2


@pytest.mark.parametrize("source", SOURCES)
def test_groups_are_whole(source: str, tmp_path: Path) -> None:
    idata = converted(source)
    for name in groups_of(idata):
        group = dataset(idata, name)
        assert group.data_vars
        assert all(dim in group.coords for dim in group.dims)
        assert group.attrs["inference_library"] == "lvkam_pyro"
    sizes = {name: dict(dataset(idata, name).sizes) for name in groups_of(idata)}
    draws = {
        (sizes[name]["chain"], sizes[name]["draw"])
        for name in ("posterior", "log_likelihood", "log_prior", "posterior_predictive")
        if name in sizes
    }
    assert len(draws) == 1
    assert ("posterior_predictive" in sizes) == (source not in ALONE)
    idata.to_netcdf(str(tmp_path / "idata.nc"))
    back = az.from_netcdf(str(tmp_path / "idata.nc"))
    for name in groups_of(idata):
        xr.testing.assert_identical(dataset(back, name), dataset(idata, name))


def test_plots_of_one_source() -> None:
    _draw(converted("autoguide"), [*PLOTS, *PREDICTIVE])


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES)
def test_plots(source: str) -> None:
    _draw(converted(source), PLOTS if source in ALONE else [*PLOTS, *PREDICTIVE])


def _draw(idata: Any, plots: list[str]) -> None:
    for plot in plots:
        assert getattr(az, plot)(idata) is not None
        plt.close("all")


@pytest.mark.parametrize("source", ONE_NUMBER)
def test_loo_pit(source: str) -> None:
    pit = az.loo_pit(converted(source), **({} if IS_TREE else {"y": "x"}))
    values = np.asarray(pit["x"] if isinstance(pit, xr.Dataset) else pit)
    assert values.shape == (5,)
    assert ((values > 0) & (values < 1)).all()
    assert az.plot_loo_pit(converted(source), **({} if IS_TREE else {"y": "x"})) is not None


@pytest.mark.skipif(not IS_TREE, reason="power-scaling sensitivity is new in ArviZ 1.0")
@pytest.mark.parametrize("source", ["mcmc of all data", "svi of all data", "autoguide"])
def test_sensitivity_to_the_prior(source: str) -> None:
    assert len(az.psense_summary(converted(source))) == 1
