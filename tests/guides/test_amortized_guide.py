"""The amortised guide of a program of several arguments sees all that have a row for each datum."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv


def model(x: Tensor, scale: Tensor, t: Tensor, classes: Tensor) -> Tensor:
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        loc = z * t[:, 0] + classes + t[:, 1]
        return pyro.sample("x", dist.Normal(loc, scale[0]), obs=x)


ARGUMENTS = (torch.randn(20), torch.ones(3), torch.randn(20, 2), torch.arange(20) % 3)


def proposals(guide: lv.AmortizedGuide, *args: Tensor) -> Tensor:
    with pyro.poutine.trace() as trace:
        guide(*args)
    return trace.trace.nodes["z"]["fn"].base_dist.mean.detach()


def test_every_column_of_every_row_is_seen() -> None:
    guide = lv.AmortizedGuide(model, *ARGUMENTS, hidden=(4,))
    columns = [ARGUMENTS[0][:, None], ARGUMENTS[2], ARGUMENTS[3][:, None]]
    assert torch.allclose(guide.encoders[0].mean, torch.cat(columns, 1).mean(0))
    before = proposals(guide, *ARGUMENTS)
    for place in (0, 2, 3):
        changed = list(ARGUMENTS)
        changed[place] = changed[place] + 1
        assert (proposals(guide, *changed) != before).all(), place
    scaled = (ARGUMENTS[0], 2 * ARGUMENTS[1], *ARGUMENTS[2:])
    assert torch.equal(proposals(guide, *scaled), before)


def test_rows_are_told_apart_and_taken_by_name() -> None:
    names = ("x", "scale", "t", "classes")
    named = dict(zip(names, ARGUMENTS, strict=True))
    guide = lv.AmortizedGuide(model, hidden=(4,), **named)
    some = {**named, **{name: named[name][5:8] for name in ("x", "t", "classes")}}
    with pyro.poutine.trace() as trace:
        guide(**some)
    assert torch.allclose(
        trace.trace.nodes["z"]["fn"].base_dist.mean, proposals(guide, *ARGUMENTS)[5:8]
    )
    evidence = lv.evidence.Importance(64).estimate(model, guide=guide, **named)
    assert evidence.log_evidence.shape == (20,)


def test_nothing_to_amortise_is_said() -> None:
    def shared(x: Tensor) -> Tensor:
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x)):
            return pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match=r"row for each of the 1 units .*use AutoNormal"):
        lv.AmortizedGuide(shared, torch.randn(9))
