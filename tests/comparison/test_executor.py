"""A comparison in another process: the same results, and clear errors."""

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pyro
import pytest
import torch
from distributed import Client, LocalCluster

import lvkam_pyro as lv
from lvkam_pyro.comparison._fingerprint import fingerprint
from lvkam_pyro.problems.linear import Bimodal, LinearGaussian, linear_gaussian
from lvkam_pyro.tracing.session import seeded_rng
from tests.comparison.test_resume import LADDER, with_store_parameter

with seeded_rng(0, torch.empty(0)):
    MODEL, X, _ = linear_gaussian(2)


@pytest.fixture(scope="module")
def pool() -> Iterator[Executor]:
    """One other process, which shares nothing with this one."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as executor:
        yield executor


@pytest.fixture(scope="module")
def dask_workers() -> Iterator[Executor]:
    """Two workers of a Dask cluster on this machine, of which one has two threads."""
    options = {"n_workers": 2, "threads_per_worker": 2, "dashboard_address": None}
    with (
        LocalCluster(processes=True, host="127.0.0.1", **options) as cluster,
        Client(cluster) as client,
        client.get_executor() as executor,
    ):
        yield executor


def compare(
    executor: Executor | None, models: object, x: torch.Tensor = X, folder: Path | None = None
) -> lv.comparison.EvidenceComparison:
    estimators = [
        lv.evidence.SteppingStone(LADDER),
        lv.evidence.Importance(64),
        lv.evidence.ThermodynamicIntegration(LADDER),
    ]
    return lv.compare_evidence(
        models, x, estimators, seed=3, progress=False, executor=executor, folder=folder
    )


def assert_same(
    one: lv.comparison.EvidenceComparison, other: lv.comparison.EvidenceComparison
) -> None:
    """The same rows in the same order, bit for bit."""
    for first, second in zip(one, other, strict=True):
        assert first.model == second.model
        assert fingerprint(vars(first.evidence)) == fingerprint(vars(second.evidence))


def test_results_are_those_of_one_process(pool: Executor) -> None:
    models = {"a": MODEL, "b": LinearGaussian(2 * MODEL.weight)}
    assert_same(compare(pool, models), compare(None, models))


@pytest.mark.slow
def test_results_of_dask_are_those_of_one_process(dask_workers: Executor) -> None:
    """Also of two threads in one process, which take turns."""
    models = {str(scale): LinearGaussian(scale * MODEL.weight) for scale in (1, 2, 3)}
    assert_same(compare(dask_workers, models), compare(None, models))
    assert dask_workers.submit(os.getpid).result() != os.getpid()


def test_module_travels_with_its_parameters(pool: Executor) -> None:
    model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = torch.rand(3, 3)
    assert_same(compare(pool, model, x), compare(None, model, x))
    assert pool.submit(fingerprint, model).result() == fingerprint(model)


def test_parameters_in_pyros_store_travel(pool: Executor) -> None:
    pyro.get_param_store()["scale"] = torch.tensor(3.0).double()
    found = compare(pool, with_store_parameter)
    assert_same(found, compare(None, with_store_parameter))
    pyro.clear_param_store()
    other = compare(None, with_store_parameter)["model", "Importance"]
    assert other.total != found["model", "Importance"].total


def test_worker_uses_one_thread_and_the_caller_as_before(pool: Executor) -> None:
    before = torch.get_num_threads()
    pool.submit(torch.set_num_threads, 2).result()
    compare(pool, MODEL)
    assert pool.submit(torch.get_num_threads).result() == 1
    assert torch.get_num_threads() == before
    assert pool.submit(os.getpid).result() != os.getpid()


def test_results_of_workers_are_kept(pool: Executor, tmp_path: Path) -> None:
    first = compare(pool, MODEL, folder=tmp_path)
    assert len(list(tmp_path.iterdir())) == 3
    assert_same(compare(None, MODEL, folder=tmp_path), first)


def test_error_of_a_worker_comes_through(pool: Executor) -> None:
    with pytest.raises(ValueError, match="no model of such data"):
        compare(pool, refusing)


def refusing(x: torch.Tensor) -> None:
    """A model that fails on any data."""
    raise ValueError(f"no model of such data: {tuple(x.shape)}")


WRONG = {
    "threads": (ThreadPoolExecutor, "an executor of processes, but got a ThreadPoolExecutor"),
    "a number": (lambda: 4, r"concurrent\.futures\.Executor, but got int"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_executor_is_refused(case: str) -> None:
    make, match = WRONG[case]
    with pytest.raises(TypeError, match=match):
        compare(make(), MODEL)


def test_model_that_does_not_pickle_is_named(pool: Executor) -> None:
    with pytest.raises(TypeError, match=r"model 'mine'.* cannot be sent .*top level of a module"):
        compare(pool, {"mine": lambda x: Bimodal()(x)})
