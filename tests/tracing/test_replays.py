"""Densities from records of a program's operations: they are those of its runs, or are not used."""

import math
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import lvkam_pyro as lv
from lvkam_pyro.tracing import unconstrained
from lvkam_pyro.tracing.replaying.replay import Replay
from lvkam_pyro.tracing.replaying.replays import Evaluation, Replays
from lvkam_pyro.tracing.replaying.tape import Tape, UntraceableError
from lvkam_pyro.tracing.unconstrained import UnconstrainedProgram
from tests.programs.known import Known
from tests.programs.test_programs import PROGRAMS

NOT_RECORDED = ("Gaussian process", "Gaussian process of one particle", "missing counts")
"""They factor matrices, whose check torch hides, or draw on the way."""


def target_of(known: Known) -> UnconstrainedProgram | None:
    program = lv.bind(known.model, *known.args, **known.kwargs).subsample()
    is_ladder = program.structure.latents and all(
        s.has_bijection for s in program.structure.latents
    )
    return UnconstrainedProgram(program) if is_ladder and (program.stacks or program.maps) else None


@pytest.mark.parametrize("known", [pytest.param(known, id=known.name) for known in PROGRAMS])
def test_replayed_densities_and_gradients_are_those_of_runs(
    known: Known, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unconstrained, "_MANY_SITES", 0)
    target = target_of(known)
    if target is None:
        pytest.skip("no chain moves over its latents, or particles run one by one")
    with target.program.session(seed=1):
        for _ in range(6):
            position = target.draw_prior(5)
            found = target.evaluate(position)
            assert found.is_like(Evaluation.by(target._log_densities, position))
    assert (target._replays.num_replayed == 0) == (known.name in NOT_RECORDED)


def replays_of(log_prior: Callable[[Tensor], Tensor]) -> Replays:
    return Replays(lambda u: (log_prior(u), u.sum(-1)), pays=lambda _: True)


def evaluated(replays: Replays, *positions: Tensor) -> list[Tensor]:
    return [replays.evaluate(position).log_prior for position in positions]


def test_branch_on_a_value_is_run_where_it_goes_another_way() -> None:
    replays = replays_of(lambda u: u.sum(-1) if u.sum() > 0 else 2 * u.sum(-1))
    one = torch.ones(2, 1, 3)
    assert evaluated(replays, one, one, one, one)[-1].tolist() == [[3.0], [3.0]]
    assert replays.num_replayed == 1
    assert evaluated(replays, -one)[0].tolist() == [[-6.0], [-6.0]]
    assert replays.num_replayed == 1


def test_draw_inside_is_never_repeated() -> None:
    replays = replays_of(lambda u: u.sum(-1) + torch.randn(()))
    values = evaluated(replays, *[torch.zeros(2, 1, 3)] * 6)
    assert len({float(value[0]) for value in values}) == 6
    assert replays.num_replayed == 0


def test_record_that_no_longer_holds_is_discarded() -> None:
    calls = []

    def counts(u: Tensor) -> Tensor:
        calls.append(None)
        return u.sum(-1) * len(calls)

    replays = replays_of(counts)
    values = evaluated(replays, *[torch.ones(2, 1, 3)] * 5)
    assert [float(value[0]) for value in values] == [3.0 * n for n in (1, 3, 4, 5, 6)]
    assert replays.num_replayed == 0


def test_gradient_that_a_function_hides_is_seen_to_be_hidden() -> None:
    def without_gradient(u: Tensor) -> Tensor:
        with torch.no_grad():
            hidden = u.sum(-1)
        return hidden + u.square().sum(-1)

    replays, u = replays_of(without_gradient), torch.ones(2, 1, 3)
    gradients = [replays.evaluate(u).prior_gradient for _ in range(5)]
    assert all(torch.equal(gradient, 2 * u) for gradient in gradients)


def test_invalid_arguments_raise_as_in_a_run() -> None:
    def log_prior(u: Tensor) -> Tensor:
        return dist.Normal(0.0, u.sum(-1), validate_args=True).log_prob(torch.ones(()))

    replays, one = replays_of(log_prior), torch.ones(2, 1, 3)
    evaluated(replays, one, one, one, one)
    assert replays.num_replayed == 1
    with pytest.raises(ValueError, match="scale"):
        evaluated(replays, -one)


@pytest.mark.parametrize(
    "function",
    [
        pytest.param(lambda u: u * torch.rand(3), id="draws"),
        pytest.param(lambda u: u[u > 0], id="mask"),
        pytest.param(lambda u: torch.zeros(6)[:3].copy_(u), id="view that is written to"),
    ],
)
def test_what_cannot_be_repeated_is_refused(function: Callable[[Tensor], Tensor]) -> None:
    position = torch.ones(3)
    with pytest.raises(UntraceableError), Tape(position):
        function(position)


def long_walk(x: Tensor) -> None:
    scale = pyro.sample("scale", dist.HalfCauchy(1.0))
    level = torch.zeros(())
    for t in range(len(x)):
        level = pyro.sample(f"level_{t}", dist.Normal(level, scale))
        pyro.sample(f"x_{t}", dist.Normal(level, 1.0), obs=x[t])


def test_long_program_runs_three_times_a_shape() -> None:
    target = UnconstrainedProgram(lv.bind(long_walk, torch.zeros(40)))
    with target.program.session(seed=0):
        position = target.draw_prior(7)
        before = target.program.runs.model
        for _ in range(9):
            target.evaluate(position)
    # A run, the record, and two runs that it is compared with.
    assert target.program.runs.model - before == 4
    assert target.num_evaluations == 63


def test_record_does_without_what_a_plate_repeats_and_what_is_not_needed() -> None:
    position = torch.ones(4, 1, 1)
    with Tape(position) as tape:
        position.sum()
        expanded = [dist.Normal(0.0, position.expand(4, 1, 900)).scale.log() for _ in range(2)]
        result = (expanded[0] + expanded[1]).sum(-1)
    replay = Replay(tape, [result])
    assert replay.num_steps < len(tape.calls) - 2
    (found,) = replay(3 * position)
    assert_close(found, torch.full((4, 1), 1800 * math.log(3)))


def test_short_program_is_not_worth_a_record() -> None:
    target = UnconstrainedProgram(lv.bind(long_walk, torch.zeros(3)))
    with target.program.session(seed=0):
        position = target.draw_prior(7)
        before = target.program.runs.model
        for _ in range(9):
            target.evaluate(position)
    assert target.program.runs.model - before == 9
