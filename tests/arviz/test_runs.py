"""Many runs of a program: together where that is right, else one by one."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from lvkam_pyro.diagnostics import runs as module
from torch import Tensor

from lvkam_pyro.arviz.plates import SiteAxes
from lvkam_pyro.arviz.runs import Recorder, record, run_many
from tests.checks import samplers

X = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.3]])


@pytest.fixture
def num_alone(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the runs that are done one by one."""
    counts: list[int] = []
    original = module._run_alone

    def counting(program: module.Program, num_runs: int, values: dict[str, Tensor]) -> module.Runs:
        counts.append(num_runs)
        return original(program, num_runs, values)

    monkeypatch.setattr(module, "_run_alone", counting)
    return counts


def test_runs_together_are_those_alone(num_alone: list[int]) -> None:
    values = {"mean": torch.randn(7), "shift": torch.randn(7, 2, 1, 2)}
    program = partial(samplers.mean_model, X)
    runs = run_many(program, 7, values)
    assert not num_alone
    for index in range(7):
        alone = record(program, {name: value[index] for name, value in values.items()})
        centre = values["mean"][index] + values["shift"][index].sum(-1)
        assert torch.equal(runs.values["centre"][index], centre)
        expected = dist.Normal(centre, 1.0).log_prob(X)
        torch.testing.assert_close(runs.log_prob["x"][index], expected)
        total = sum(s["fn"].log_prob(s["value"]).sum() for s in alone.sites.values())
        torch.testing.assert_close(runs.total()[index], total)


@pytest.mark.parametrize(
    ("program", "values"),
    [
        (samplers.without_a_further_axis, {"mean": torch.randn(6)}),
        (samplers.indexes_from_the_left, {"weights": torch.randn(6, 3)}),
    ],
)
def test_programs_that_take_no_further_axis_run_alone(
    program: samplers.Callable[[Tensor], None], values: dict[str, Tensor], num_alone: list[int]
) -> None:
    x = X[0]
    runs = run_many(partial(program, x), 6, values)
    assert num_alone == [6]
    (value,) = values.values()
    centre = value if value.ndim == 1 else value[:, 0]
    expected = dist.Normal(centre[:, None], 1.0).log_prob(x)
    torch.testing.assert_close(runs.log_prob["x"], expected)


def test_scale_and_mask_count() -> None:
    def program() -> None:
        with pyro.plate("data", 3), pyro.poutine.scale(scale=2.0):
            mask = torch.tensor([True, False, True])
            with pyro.poutine.mask(mask=mask):
                pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(3))

    log_prob = run_many(program, 4).log_prob["x"]
    one = 2 * dist.Normal(0.0, 1.0).log_prob(torch.zeros(()))
    assert torch.equal(log_prob, torch.stack([one, 0 * one, one]).expand(4, 3))


def test_changing_sites_are_refused() -> None:
    def program() -> None:
        kind = pyro.sample("kind", dist.Bernoulli(0.5))
        pyro.sample("a" if bool(kind) else "b", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="same sites in every run"):
        run_many(program, 50)


def test_axes_of_sites() -> None:
    run = record(partial(samplers.mean_model, X))
    sampled = {name: SiteAxes.of(site).dims for name, site in run.sites.items()}
    assert sampled == {"mean": (), "shift": ("group", "shift_dim_0"), "x": ("group", "person")}
    computed = {name: SiteAxes.of_computed(site).dims for name, site in run.computed.items()}
    assert computed == {"double": (), "centre": ("group",)}


def test_axes_without_a_plate() -> None:
    with Recorder() as run, pyro.plate("data", 5):
        pyro.sample("wide", dist.Normal(torch.zeros(3, 1), 1.0))
        pyro.deterministic("events", torch.zeros(5, 4), event_dim=1)
        pyro.deterministic("other", torch.zeros(4))
    assert SiteAxes.of(run.sites["wide"]).dims == ("wide_batch_0", "data")
    assert SiteAxes.of_computed(run.computed["events"]).dims == ("data", "events_dim_0")
    assert SiteAxes.of_computed(run.computed["other"]).dims == ("other_dim_0",)
