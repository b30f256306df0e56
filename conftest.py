"""The surroundings of every test: a seed, an empty store, torch's globals left alone."""

import importlib
import warnings
from collections.abc import Iterator

import pyro
import pytest
import torch
from hypothesis import settings
from matplotlib import pyplot
from torch.distributions import Distribution

# The same examples in every run, and no clock: a failure is the code's.
settings.register_profile("deterministic", derandomize=True, deadline=None)
settings.load_profile("deterministic")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch for long tests."""
    parser.addoption("--runslow", action="store_true", help="run the long statistical checks")


def pytest_configure(config: pytest.Config) -> None:
    """Let ArviZ announce its refactoring before the workers start.

    On the first import of a day it writes a stamp, and two processes that do so at once collide.
    """
    if hasattr(config, "workerinput"):
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        importlib.import_module("arviz")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the long tests unless they are asked for."""
    if config.getoption("--runslow"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="a long statistical check: --runslow"))


def torch_globals() -> tuple[object, ...]:
    """The settings that belong to the user and that no call of ours may change."""
    return (
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        Distribution._validate_args,
        pyro.settings.get(),
    )


@pytest.fixture(autouse=True)
def clean_slate() -> Iterator[None]:
    """Seed everything, clear Pyro's store, and fail the test that changed a global of torch.

    Figures that an example left open are closed: matplotlib warns of more than twenty.
    """
    pyro.set_rng_seed(0)
    pyro.clear_param_store()
    before = torch_globals()
    yield
    pyplot.close("all")
    assert torch_globals() == before, "the test changed a global setting of torch or pyro"
