"""Ten steps of a ladder: ours on a Pyro model, against torch by hand.

8 temperatures x 10 MALA steps x 128 data of the digits, one chain each: 16 latents on a bounded
log-spline prior, 64 outputs, normal noise, with full preconditioners, prior draws at temperature 0
and exchange of neighbours. By hand means the same maths of this one model, with gradients in closed
form. Both run in turn in one process on one thread; what counts is the ratio of CPU times.

    python benchmarks/ladder.py
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.ladder.chains import Chains

NUM_LATENTS, NUM_OUTPUTS, NUM_TEMPERATURES, NUM_STEPS, BATCH = 16, 64, 8, 10, 128
NUM_CELLS, NUM_NODES = 8, 640
State = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Positions, log prior, log likelihood and their gradients."""


def build_model() -> lv.LVKAM:
    """The LV-KAM of the benchmark."""
    prior = lv.MixturePrior(NUM_LATENTS)
    generator = lv.KANGenerator(NUM_LATENTS, NUM_OUTPUTS, base_activation=None)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(NUM_OUTPUTS))


def cubic_weights(z: Tensor) -> tuple[Tensor, Tensor]:
    """The cardinal cubic B-splines on 8 cells of [0, 1], `(..., 11)`, and their derivatives."""
    place = (z * NUM_CELLS).clamp(0, NUM_CELLS - 1e-5)
    cell = place.floor()
    s = place - cell
    r = 1 - s
    values = torch.stack([r**3, 3 * s**3 - 6 * s**2 + 4, 3 * r**3 - 6 * r**2 + 4, s**3], -1).div_(6)
    slopes = torch.stack([-(r**2), 3 * s**2 - 4 * s, 4 * r - 3 * r**2, s**2], -1).mul_(
        NUM_CELLS / 2
    )
    index = cell.long().unsqueeze(-1) + torch.arange(4)
    zeros = values.new_zeros(*z.shape, NUM_CELLS + 3)
    return zeros.scatter(-1, index, values), zeros.scatter(-1, index, slopes)


class ByHand:
    """The ladder of this one model in plain torch, its gradients in closed form."""

    def __init__(self, model: lv.LVKAM, x: Tensor, temperatures: Tensor, run: "Ours") -> None:
        self.energies = model.prior.functions.coefficients.detach()[..., 0]
        self.weights = model.generator.layers[0].coefficients.detach().flatten(0, 1)
        self.scale = model.likelihood.scale.detach()
        self.x = x
        self.temperatures = temperatures.float()[:, None]
        tuning = run.chains.adaptation.tuning
        self.factor = tuning.metric.factor
        self.step_size = tuning.step.float()[..., None]
        nodes = (torch.arange(NUM_NODES) + 0.5) / NUM_NODES
        node_energies = self.energies @ cubic_weights(nodes)[0].T
        self.log_normalizer = node_energies.logsumexp(-1).sum() - NUM_LATENTS * math.log(NUM_NODES)
        self.cdf = torch.nn.functional.pad(node_energies.softmax(-1).cumsum(-1), (1, 0))
        self.inner_cdf = self.cdf[:, 1:-1].contiguous()
        self.state = self.evaluate(run.chains.state.position[:, 0])
        self.iteration = 0

    def evaluate(self, u: Tensor) -> State:
        """The state at positions `(T, N, Q)`."""
        z = u.sigmoid()
        jacobian = z * (1 - z)
        values, slopes = cubic_weights(z)
        log_prior = (values * self.energies).sum((-1, -2)) - self.log_normalizer
        log_prior = log_prior + jacobian.log().sum(-1)
        prior_gradient = (slopes * self.energies).sum(-1) * jacobian + 1 - 2 * z
        residual = (self.x - values.flatten(-2) @ self.weights) / self.scale
        constant = self.scale.log().sum() + NUM_OUTPUTS / 2 * math.log(2 * math.pi)
        log_likelihood = -residual.square().sum(-1) / 2 - constant
        pulled = ((residual / self.scale) @ self.weights.T).view_as(slopes)
        likelihood_gradient = (pulled * slopes).sum(-1) * jacobian
        return u, log_prior, log_likelihood, prior_gradient, likelihood_gradient

    def drift(self, state: State) -> Tensor:
        """The whitened, truncated gradient of the tempered log density."""
        gradient = state[3] + self.temperatures.unsqueeze(-1) * state[4]
        white = torch.einsum("tnji,tnj->tni", self.factor, gradient)
        limit = 5 * math.sqrt(NUM_LATENTS)
        return white * (limit / white.norm(dim=-1, keepdim=True).clamp(min=limit))

    def draw_prior(self) -> Tensor:
        """One draw for each datum, `(N, Q)`, by linear interpolation of the distribution."""
        uniform = torch.rand(NUM_LATENTS, BATCH)
        cell = torch.searchsorted(self.inner_cdf, uniform)
        low, high = self.cdf.gather(1, cell), self.cdf.gather(1, cell + 1)
        z = (cell + (uniform - low) / (high - low).clamp(min=1e-12)) / NUM_NODES
        return z.clamp(1e-6, 1 - 1e-6).logit().T

    def step(self) -> None:
        """One MALA step at every temperature, and exchanges."""
        state, size = self.state, self.step_size
        drift = self.drift(state)
        noise = torch.randn_like(drift)
        moved = torch.einsum("tnij,tnj->tni", self.factor, noise + size / 2 * drift)
        position = state[0] + size * moved
        position[0] = self.draw_prior()
        proposed = self.evaluate(position)
        backward = noise + size / 2 * (drift + self.drift(proposed))
        kinetic = (noise.square() - backward.square()).sum(-1) / 2
        gain = proposed[1] - state[1] + self.temperatures * (proposed[2] - state[2]) + kinetic
        gain[0] = 0
        accepted = torch.rand_like(gain).log() < gain
        masks = [accepted if new.ndim == 2 else accepted.unsqueeze(-1) for new in proposed]
        self.state = tuple(map(torch.where, masks, proposed, state))
        self.exchange(self.iteration % 2)
        self.iteration += 1

    def exchange(self, first: int) -> None:
        """Offer exchanges to every second pair of neighbours."""
        pairs = (NUM_TEMPERATURES - first) // 2
        lower, upper = slice(first, first + 2 * pairs, 2), slice(first + 1, first + 2 * pairs, 2)
        log_likelihood, t = self.state[2], self.temperatures
        gain = (t[upper] - t[lower]) * (log_likelihood[lower] - log_likelihood[upper])
        accepted = torch.rand_like(gain).log() < gain
        for tensor in self.state:
            mask = accepted if tensor.ndim == 2 else accepted.unsqueeze(-1)
            low, high = tensor[lower], tensor[upper]
            tensor[lower], tensor[upper] = (
                torch.where(mask, high, low),
                torch.where(mask, low, high),
            )


class Ours:
    """The library's ladder on the same model, with one chain."""

    def __init__(self, model: Callable[[Tensor], object], x: Tensor, temperatures: Tensor) -> None:
        kernel = lv.ladder.MALA()
        target = kernel.bind(lv.bind(model, x))
        start = kernel.start(target, temperatures, 1)
        self.chains = Chains(kernel, target, temperatures, start)

    def step(self) -> None:
        """One MALA step at every temperature, and exchanges."""
        self.chains.step()


def measure(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """CPU milliseconds of ten steps, in alternating blocks."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            for _ in range(NUM_STEPS):
                step()
            if number > 0:  # the first block warms up
                times[name].append(1e3 * (time.process_time() - start))
    return times


def check(ours: Ours, by_hand: ByHand) -> None:
    """Both compute the same densities and gradients at the same positions."""
    state = ours.chains.state
    u, log_prior, log_likelihood, *gradients = by_hand.evaluate(state.position[:, 0])
    computed = [u, log_likelihood, log_prior, *gradients]
    for mine, theirs in zip(state.tensors, computed, strict=True):
        torch.testing.assert_close(mine[:, 0].float(), theirs, rtol=1e-3, atol=2e-2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compile", action="store_true", help="compile the one by hand, too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.from_numpy(load_digits().data[:BATCH]).float() / 16
    temperatures = lv.ladder.PowerSchedule()(NUM_TEMPERATURES)
    model = build_model()
    ours = Ours(model, x, temperatures)
    build = partial(ByHand, model, x, temperatures, ours)
    by_hand = build()
    check(ours, by_hand)
    steps = {"torch by hand": by_hand.step, "lvkam_pyro": ours.step}
    if options.compile:
        compiled = build()
        compiled.evaluate = torch.compile(compiled.evaluate)
        steps["torch by hand, compiled densities"] = compiled.step
    with torch.no_grad():
        times = measure(steps, options.rounds)
    print(f"{'implementation':<36}{'ms CPU a run':>14}{'ratio to torch by hand':>25}")
    for name, values in times.items():
        ratio = statistics.median(
            v / b for v, b in zip(values, times["torch by hand"], strict=True)
        )
        print(f"{name:<36}{statistics.median(values):>14.1f}{ratio:>25.2f}")


if __name__ == "__main__":
    main()
