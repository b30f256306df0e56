"""The loop of chains that all kernels share: interruption, and how often it runs the model."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.chains import Chains
from lvkam_pyro.ladder.kernel import Kernel
from lvkam_pyro.tracing.bind import bind
from tests.tracing import models


class Interrupt:
    """A progress counter at which the user presses Ctrl-C."""

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


KERNELS = {"mala": lv.ladder.MALA(), "gibbs": lv.ladder.GridGibbsKernel()}
every_kernel = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def interrupted_run(kernel: Kernel, after: int) -> int:
    x = torch.zeros(2)
    target = kernel.bind(bind(models.two_sites, x))
    temperatures = torch.linspace(0, 1, 3, dtype=torch.float64)
    start = kernel.start(target, temperatures, 4)
    chains = Chains(kernel, target, temperatures, start, num_warmup=10)
    interrupt = Interrupt(after)
    chains.warm_up(interrupt)
    record = chains.keep(20, tick=interrupt)
    assert len(chains.latents(record)["a"]) == len(record.log_likelihood)
    return len(record.log_likelihood)


@every_kernel
def test_an_interrupt_keeps_what_was_drawn(kernel: Kernel) -> None:
    assert interrupted_run(kernel, 10 + 7) == 7


@every_kernel
@pytest.mark.parametrize("after", [5, 12])
def test_an_early_interrupt_goes_on(kernel: Kernel, after: int) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted_run(kernel, after)


class Counted:
    """A model that counts the runs that begin, and those that come to its likelihood."""

    def __init__(self) -> None:
        self.begun = self.finished = 0

    def __call__(self, x: Tensor) -> None:
        self.begun += 1
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            self.finished += 1
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)


@pytest.mark.parametrize(("kernel", "runs_a_step"), [(lv.ladder.MALA(), 1), (lv.ladder.HMC(3), 3)])
def test_a_ladder_runs_the_model_once_a_gradient(kernel: Kernel, runs_a_step: int) -> None:
    """Beside its gradients, it draws from the prior and constrains what it keeps, T steps at once.

    These runs end at the last latent.
    """
    model, x = Counted(), torch.zeros(3)
    bind(model, x)
    structure = model.finished
    model.begun = model.finished = 0
    warmup, kept, thinning, rungs = 7, 6, 2, 4
    lv.ladder.Ladder(
        num_temperatures=rungs,
        num_chains=8,
        num_warmup=warmup,
        num_samples=kept,
        thinning=thinning,
        kernel=kernel,
    ).sample(model, x)
    steps = warmup + kept * thinning
    start = 1 + 3 * (rungs - 1)
    assert model.finished == structure + start + runs_a_step * steps
    assert model.begun - model.finished == 1 + math.ceil(steps / rungs) + math.ceil(kept / rungs)


def test_the_model_of_a_gibbs_ladder_is_tabulated_once() -> None:
    runs = []
    for num_samples in (4, 40):
        model = Counted()
        ladder = lv.ladder.Ladder(
            num_temperatures=4,
            num_chains=8,
            num_warmup=2,
            num_samples=num_samples,
            kernel=lv.ladder.GridGibbsKernel(),
        )
        ladder.sample(model, torch.zeros(3))
        runs.append(model.begun)
    assert runs[0] == runs[1]


def test_restarts_count_what_has_come_from_an_exact_draw() -> None:
    """Where all densities are one every exchange is made: two temperatures, one restart in two."""

    def indifferent(x: Tensor) -> None:
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.factor("nothing", torch.zeros(len(x)))

    ladder = lv.ladder.Ladder(num_temperatures=2, num_chains=4, num_warmup=3, num_samples=9)
    samples = ladder.sample(indifferent, torch.zeros(2))
    num_steps = 3 + 2 * 9
    assert samples.restarts.tolist() == [4 * -(-num_steps // 2)] * 2
