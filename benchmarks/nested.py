"""Importance sampling from a fitted mixture beside nested sampling: error, evaluations and time.

`lv.evidence.MixtureImportance` on Pyro programs of four data at once, against dynesty (3.1) and
BlackJAX' nested slice sampling (1.7), each on the same densities written by hand in numpy or JAX,
one datum at a time. Errors are against exact answers; `cost` is the squared error times the
evaluations a datum: what does not depend on the number of points. A peer that is not
installed is left out: `pip install dynesty blackjax` into an environment beside.

    python benchmarks/nested.py --seeds 2
"""

import argparse
import importlib
import importlib.util
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import lvkam_pyro as lv

GAIN = 4.6
LINEAR_NOISE = 0.5
Array = Any
"""Of numpy or of JAX."""


class Spike:
    """A flat likelihood but for a normal peak of a scale s, which holds 99 % of the evidence."""

    def __init__(self, scale: float, num_latents: int = 5) -> None:
        self.scale, self.num_latents = scale, num_latents
        marginal = dist.Normal(0.0, math.hypot(1.0, scale)).log_prob(torch.tensor(1.0))
        self.height = math.log(math.expm1(GAIN)) - num_latents * float(marginal)

    def __call__(self, x: Tensor) -> None:
        """Declares the model of the data x (N,)."""
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(x.new_zeros(self.num_latents), 1.0).to_event(1))
            peak = self.height + dist.Normal(1.0, self.scale).log_prob(z).sum(-1)
            plateau = dist.Normal(0.0, 1.0).log_prob(x)
            pyro.factor("likelihood", plateau + torch.logaddexp(torch.zeros_like(peak), peak))

    def by_hand(self, xp: ModuleType, z: Array, x: Array) -> Array:
        """The log likelihood of one point."""
        peak = self.height + normal(xp, z, 1.0, self.scale).sum()
        return normal(xp, x, 0.0, 1.0) + xp.logaddexp(0.0, peak)


def normal(xp: ModuleType, z: Array, mean: Array, scale: float) -> Array:
    """The normal log density."""
    return -(((z - mean) / scale) ** 2) / 2 - math.log(scale) - math.log(2 * math.pi) / 2


def shells(xp: ModuleType, z: Array, x: Array) -> Array:
    """Two thin shells."""
    centre = 3.5 * (np.arange(10) == 0)
    low, high = (xp.sqrt(((z - c) ** 2).sum()) for c in (centre, -centre))
    return xp.logaddexp(normal(xp, x, low, 0.1), normal(xp, x, high, 0.1)) - math.log(2)


def bimodal(xp: ModuleType, z: Array, x: Array) -> Array:
    """Two far modes of unequal mass."""
    one, other = (normal(xp, x, m, 0.3).sum() for m in (z, -z))
    return xp.logaddexp(math.log(0.8) + one, math.log(0.2) + other)


def banana(xp: ModuleType, z: Array, x: Array) -> Array:
    """A curved valley."""
    return normal(xp, x, z[1] - z[0] ** 2, 0.1)


def label_switching(xp: ModuleType, z: Array, x: Array) -> Array:
    """Two components that can change places."""
    one, other = (normal(xp, x, z[k], 0.7) for k in (0, 1))
    return (xp.logaddexp(one, other) - math.log(2)).sum()


@dataclass(frozen=True)
class Case:
    """A problem in both forms.

    Attributes:
        model: The Pyro program.
        x: The data.
        exact: The log evidence of each datum.
        by_hand: The log likelihood of one point and one datum.
        num_latents: D.
        scale: Of the normal prior; minus the half width of a uniform one.
    """

    model: Callable[[Tensor], object]
    x: Tensor
    exact: Tensor
    by_hand: Callable[[ModuleType, Array, Array], Array]
    num_latents: int
    scale: float = 1.0


def spike_case(scale: float) -> Case:
    """The spike of a scale."""
    x, model = torch.tensor([-1.0, 0.0, 0.5, 2.0], dtype=torch.float64), Spike(scale)
    return Case(model, x, GAIN + dist.Normal(0.0, 1.0).log_prob(x), model.by_hand, 5)


def library_case(name: str, by_hand: Callable[..., Array], size: int, scale: float = 1.0) -> Case:
    """A problem of the library."""
    problem = lv.problems.load_problem(name)
    return Case(problem.model, problem.x, problem.log_evidence, by_hand, size, scale)


def linear_case() -> Case:
    """Ten outputs of ten latents."""
    problem: Any = lv.problems.load_problem("linear_gaussian_10")
    weight = problem.model.weight.double().numpy()

    def by_hand(xp: ModuleType, z: Array, x: Array) -> Array:
        return normal(xp, x, xp.asarray(weight) @ z, LINEAR_NOISE).sum()

    return Case(problem.model, problem.x, problem.log_evidence, by_hand, 10)


CASES: dict[str, Callable[[], Case]] = {
    "spike 8e-5, 5-D": lambda: spike_case(0.2),
    "spike 2e-6, 5-D": lambda: spike_case(0.1),
    "spike 8e-8, 5-D": lambda: spike_case(0.05),
    "shells, 10-D": lambda: library_case("gaussian_shells", shells, 10, -6.0),
    "bimodal, 10-D": lambda: library_case("bimodal", bimodal, 10),
    "banana, 2-D": lambda: library_case("banana", banana, 2, 2.0),
    "labels, 2-D": lambda: library_case("label_switching", label_switching, 2, 3.0),
    "linear, 10-D": linear_case,
}
Outcome = tuple[list[float], list[float], float]
"""The estimates of the data, their standard errors, and the evaluations of a datum."""


def ours(case: Case, seed: int) -> Outcome:
    """All data at once."""
    result = lv.evidence.MixtureImportance().estimate(case.model, case.x, seed=seed)
    errors = result.standard_error.tolist()
    return result.log_evidence.tolist(), errors, result.num_likelihood_evaluations


def dynesty(case: Case, seed: int) -> Outcome:
    """Static nested sampling by random slices, 500 live points, one datum after the other."""
    library = importlib.import_module("dynesty")
    ndtri = importlib.import_module("scipy.special").ndtri

    def to_prior(u: Array) -> Array:
        return case.scale * ndtri(u) if case.scale > 0 else -case.scale * (2 * u - 1)

    values, errors, calls = [], [], 0
    for datum in case.x.double().numpy():
        sampler = library.NestedSampler(
            lambda z, datum=datum: float(case.by_hand(np, z, datum)),
            to_prior,
            case.num_latents,
            nlive=500,
            sample="rslice",
            rstate=np.random.default_rng(seed),
        )
        sampler.run_nested(print_progress=False)
        values.append(float(sampler.results.logz[-1]))
        errors.append(float(sampler.results.logzerr[-1]))
        calls += int(np.sum(sampler.results.ncall))
    return values, errors, calls / len(case.x)


def blackjax(case: Case, seed: int) -> Outcome:
    """Nested slice sampling, 2048 live points of which an eighth is replaced at once."""
    jax, library = importlib.import_module("jax"), importlib.import_module("blackjax")
    jax.config.update("jax_enable_x64", True)
    numpy, utils = jax.numpy, importlib.import_module("blackjax.ns.utils")

    def log_prior(z: Array) -> Array:
        if case.scale > 0:
            return normal(numpy, z, 0.0, case.scale).sum()
        inside = numpy.all(numpy.abs(z) < -case.scale)
        return numpy.where(inside, -case.num_latents * math.log(-2 * case.scale), -numpy.inf)

    def run(datum: Array, key: Array) -> tuple[float, float, int]:
        sampler = library.nss(
            log_prior,
            lambda z: case.by_hand(numpy, z, datum),
            num_inner_steps=max(5, 2 * case.num_latents),
            num_delete=256,
        )
        key, start = jax.random.split(key)
        shape = (2048, case.num_latents)
        unit = jax.random.normal if case.scale > 0 else jax.random.uniform
        draws = unit(start, shape, dtype=numpy.float64)
        draws = case.scale * draws if case.scale > 0 else -case.scale * (2 * draws - 1)
        state, step, dead = sampler.init(draws), jax.jit(sampler.step), []
        while state.integrator.logZ_live - state.integrator.logZ > -5 and len(dead) < 2000:
            key, draw = jax.random.split(key)
            state, info = step(draw, state)
            dead.append(info)
        final = utils.finalise(state, dead)
        log_z = jax.scipy.special.logsumexp(utils.log_weights(key, final, shape=100), axis=0)
        return float(log_z.mean()), float(log_z.std()), 2048 + _evaluations(dead)

    keys = jax.random.split(jax.random.key(seed), len(case.x))
    pairs = zip(case.x.double().numpy(), keys, strict=True)
    values, errors, calls = zip(*(run(*pair) for pair in pairs), strict=True)
    return list(values), list(errors), sum(calls) / len(calls)


def _evaluations(dead: list[Any]) -> int:
    """The likelihood evaluations of all slices: two ends, expansions, and what shrinks."""
    infos = [info.update_info for info in dead]
    return sum(
        int(info.num_expansions.sum() + info.num_shrink.sum()) + 2 * info.num_shrink.size
        for info in infos
    )


METHODS = {"lvkam_pyro": ours, "dynesty": dynesty, "blackjax": blackjax}


def measure(case: Case, method: Callable[[Case, int], Outcome], seeds: int) -> list[float]:
    """RMSE, root mean square of z, evaluations a datum, cost, CPU seconds a datum."""
    start = time.process_time()
    outcomes = [method(case, seed) for seed in range(seeds)]
    seconds = (time.process_time() - start) / seeds / len(case.x)
    error = torch.tensor([values for values, _, _ in outcomes]) - case.exact
    z = error / torch.tensor([errors for _, errors, _ in outcomes])
    calls = sum(calls for _, _, calls in outcomes) / seeds
    rms = [float(values.square().mean().sqrt()) for values in (error, z)]
    return [*rms, calls, rms[0] ** 2 * calls, seconds]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    options = parser.parse_args()
    torch.set_num_threads(1)
    header = ("problem", "method", "RMSE", "z rms", "evaluations", "cost", "CPU s a datum")
    print("{:<18}{:<12}{:>8}{:>8}{:>13}{:>10}{:>15}".format(*header))
    for name in options.cases:
        for method in options.methods:
            if importlib.util.find_spec(method) is None:
                print(f"{name:<18}{method:<12} is not installed")
                continue
            row = measure(CASES[name](), METHODS[method], options.seeds)
            numbers = "{:>8.3f}{:>8.2f}{:>13.0f}{:>10.0f}{:>15.1f}".format(*row)
            print(f"{name:<18}{method:<12}{numbers}", flush=True)


if __name__ == "__main__":
    main()
