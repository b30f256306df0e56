"""A program at many draws of its latents: together where that is right, else one by one."""

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.arviz.draws import Evaluation, evaluate
from lvkam_pyro.arviz.layout import Layout, SiteAxes
from lvkam_pyro.tracing.recorder import SiteRecorder
from tests.checks import samplers

X = torch.tensor([[0.5, -1.0, 2.0], [1.0, 0.0, -0.3]])


def evaluated(
    model: Callable[..., object], x: Tensor, values: dict[str, Tensor]
) -> tuple[Evaluation, lv.tracing.BoundProgram]:
    program = lv.bind(model, x)
    layout = Layout.of(program)
    before = program.runs.model
    found = evaluate(program, layout, program.structure.arrange(values))
    program.runs.model -= before
    return found, program


def test_draws_together_are_those_alone() -> None:
    values = {"mean": torch.randn(7), "shift": torch.randn(7, 2, 1, 2)}
    found, program = evaluated(samplers.mean_model, X, values)
    # One of all draws, and the first and the last alone, for what is computed.
    assert program.runs.model == 3
    for index in range(7):
        with SiteRecorder({name: value[index] for name, value in values.items()}) as alone:
            samplers.mean_model(X)
        centre = values["mean"][index] + values["shift"][index].sum(-1)
        assert torch.equal(found.computed["centre"][index], centre)
        expected = dist.Normal(centre, 1.0).log_prob(X)
        torch.testing.assert_close(found.pointwise["x"][index], expected)
        total = sum(s["fn"].log_prob(s["value"]).sum() for s in alone.sites.values())
        log_joint = found.log_prior + found.log_likelihood
        torch.testing.assert_close(log_joint[index, 0], total)


@pytest.mark.filterwarnings("ignore::lvkam_pyro.tracing.stacking.StackingWarning")
@pytest.mark.parametrize(
    ("model", "values"),
    [
        (samplers.without_a_further_axis, {"mean": torch.randn(6)}),
        (samplers.indexes_from_the_left, {"weights": torch.randn(6, 3)}),
    ],
)
def test_programs_that_take_no_further_axis_run_alone(
    model: Callable[[Tensor], None], values: dict[str, Tensor]
) -> None:
    x = X[0]
    found, _ = evaluated(model, x, values)
    (value,) = values.values()
    centre = value if value.ndim == 1 else value[:, 0]
    expected = dist.Normal(centre[:, None], 1.0).log_prob(x)
    torch.testing.assert_close(found.pointwise["x"], expected)


def test_scale_and_mask_count() -> None:
    def model(x: Tensor) -> None:
        mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
        with pyro.plate("data", 3), pyro.poutine.scale(scale=2.0):
            mask = torch.tensor([True, False, True])
            with pyro.poutine.mask(mask=mask):
                pyro.sample("x", dist.Normal(0 * mean, 1.0), obs=x)

    log_prob = evaluated(model, torch.zeros(3), {"mean": torch.randn(4)})[0].pointwise["x"]
    one = 2 * dist.Normal(0.0, 1.0).log_prob(torch.zeros(()))
    assert torch.equal(log_prob, torch.stack([one, 0 * one, one]).expand(4, 3))


def largest_of_all(x: Tensor) -> None:
    """Computes over all data what no axis of draws survives."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.deterministic("largest", z.max())


def reshaping(x: Tensor) -> None:
    """Computes what has other axes among draws than alone."""
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x)
    pyro.deterministic("largest", torch.stack([z, z]).flatten())


@pytest.mark.parametrize("model", [largest_of_all, reshaping])
def test_what_is_computed_otherwise_among_draws_is_computed_alone(
    model: Callable[[Tensor], None],
) -> None:
    z = torch.randn(5, 3)
    found, _ = evaluated(model, X[0], {"z": z})
    expected = z.amax(-1) if model is largest_of_all else torch.cat([z, z], -1)
    assert torch.equal(found.computed["largest"], expected)


def test_axes_of_sites() -> None:
    layout = Layout.of(lv.bind(samplers.mean_model, X))
    names = {name: [one for one in axes.names if one] for name, axes in layout.sites.items()}
    assert names == {
        "mean": [],
        "shift": ["group", "shift_dim_0"],
        "x": ["group", "person"],
        "double": [],
        "centre": ["group"],
    }


def test_axes_without_a_plate() -> None:
    with SiteRecorder() as run, pyro.plate("data", 5):
        pyro.deterministic("events", torch.zeros(5, 4), event_dim=1)
        pyro.deterministic("other", torch.zeros(4))
        pyro.deterministic("wide", torch.zeros(3, 5))
    axes = {name: SiteAxes.of_computed(site).names for name, site in run.computed.items()}
    assert axes == {
        "events": ("data", "events_dim_0"),
        "other": ("other_dim_0",),
        "wide": ("wide_batch_0", "data"),
    }
