"""One training update by importance sampling from the prior: ours against the alternatives.

The setting of the original recipe on digits: 16 latents, cubic B-splines on 8 cells, a batch of
128 images of 64 pixels, a learned scale per pixel, Adam. All run in turn in one process on one
thread; what counts is the ratio of CPU times in one run.

    python benchmarks/training_step.py
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import ELBO, RenyiELBO, Trace_ELBO
from sklearn.datasets import load_digits
from torch import Tensor, nn

import lvkam_pyro as lv

NUM_LATENTS, NUM_OUTPUTS, NUM_PARTICLES, BATCH = 16, 64, 256, 128
Step = Callable[[], object]


class ByHand(nn.Module):
    """The same model in plain torch: log-spline prior, spline generator, factored likelihood."""

    def __init__(self, model: lv.LVKAM) -> None:
        super().__init__()
        layer = model.generator.layers[0]
        self.energies = nn.Parameter(model.prior.functions.coefficients.detach()[..., 0].clone())
        self.weights = nn.Parameter(layer.coefficients.detach().flatten(0, 1).clone())
        self.log_scale = nn.Parameter(model.likelihood.log_scale.detach().clone())
        nodes = torch.linspace(0, 1, 641)[:-1] + 1 / 1280
        self.register_buffer("node_features", layer.basis(nodes))
        self.register_buffer("edges", torch.linspace(0, 1, 641))
        self.basis = layer.basis

    def forward(self, x: Tensor) -> Tensor:
        """Minus the log evidence of a batch, with 256 prior draws shared by all data."""
        node_energies = self.energies @ self.node_features.T
        log_normalizer = node_energies.logsumexp(-1) - math.log(640)
        z = self.draw(node_energies.detach())
        features = self.basis(z)
        log_prior = (torch.einsum("sqk,qk->sq", features, self.energies) - log_normalizer).sum(-1)
        mean = features.flatten(1) @ self.weights
        scale = self.log_scale.exp()
        a, b = x / scale, mean / scale
        square = (a * a).sum(-1) + (b * b).sum(-1, keepdim=True) - 2 * b @ a.T
        log_likelihood = -0.5 * square - self.log_scale.sum() - 32 * math.log(2 * math.pi)
        log_joint = log_prior[:, None] + log_likelihood
        log_weights = log_joint - log_prior.detach()[:, None]
        return -(log_weights.logsumexp(0) - math.log(NUM_PARTICLES)).sum()

    def draw(self, node_energies: Tensor) -> Tensor:
        """Inverse transform by linear interpolation of a midpoint rule of 640 nodes."""
        cdf = nn.functional.pad(node_energies.softmax(-1).cumsum(-1), (1, 0))
        u = torch.rand(NUM_LATENTS, NUM_PARTICLES)
        cell = torch.searchsorted(cdf[:, 1:-1].contiguous(), u)
        low, high = cdf.gather(1, cell), cdf.gather(1, cell + 1)
        return ((cell + (u - low) / (high - low).clamp(min=1e-12)) / 640).clamp(0, 1).T


class NormalIdiom(nn.Module):
    """The likelihood as Pyro users write it: Normal(loc, scale).to_event(1) on (S, N, O)."""

    def __init__(self, likelihood: lv.NormalLikelihood) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(likelihood.log_scale.detach().clone())

    def forward(self, loc: Tensor) -> dist.TorchDistribution:
        """The density of the outputs around means `loc`."""
        return dist.Normal(loc, self.log_scale.exp()).to_event(1)


class VAE(pyro.nn.PyroModule):
    """A Pyro variational autoencoder of the same latent size."""

    def __init__(self) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(NUM_LATENTS, 128), nn.Softplus(), nn.Linear(128, NUM_OUTPUTS)
        )
        self.log_scale = nn.Parameter(torch.full((NUM_OUTPUTS,), math.log(0.1)))

    def forward(self, x: Tensor) -> Tensor:
        """Declare the model on data `x`."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(NUM_LATENTS), 1.0).to_event(1))
            likelihood = dist.Normal(self.decoder(z), self.log_scale.exp()).to_event(1)
            return pyro.sample("x", likelihood, obs=x)


def build_model() -> lv.LVKAM:
    """The LV-KAM of the benchmark."""
    prior = lv.MixturePrior(NUM_LATENTS)
    generator = lv.KANGenerator(NUM_LATENTS, NUM_OUTPUTS, base_activation=None)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(NUM_OUTPUTS))


def make_step(objective: nn.Module, x: Tensor) -> Step:
    """One update of Adam on an objective that is a torch module."""
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        objective(x).backward()
        optimizer.step()

    return step


def make_elbo_step(
    elbo: ELBO, model: lv.LVKAM, guide: Callable[[Tensor], object], x: Tensor
) -> Step:
    """One update of Adam on an ELBO that has no differentiable loss."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimizer.zero_grad()
        elbo.loss_and_grads(model, guide, x)
        optimizer.step()

    return step


def renyi_guide(model: lv.LVKAM) -> Callable[[Tensor], object]:
    """The prior as a guide, drawn for every datum: the documented idiom of RenyiELBO."""

    def guide(x: Tensor) -> Tensor:
        with pyro.plate("data", len(x), dim=-1), torch.no_grad():
            return pyro.sample("z", model.prior())

    return guide


def build_steps(x: Tensor) -> dict[str, Step]:
    """Name to one update, ours first."""
    ours, idiom, renyi, amortized = (build_model() for _ in range(4))
    vae = VAE()
    idiom.likelihood = NormalIdiom(idiom.likelihood)
    renyi.likelihood = NormalIdiom(renyi.likelihood)
    importance: ELBO = lv.EmpiricalBayes(NUM_PARTICLES)
    renyi_bound = RenyiELBO(alpha=0, num_particles=64, vectorize_particles=True)
    return {
        "torch by hand (autograd)": make_step(ByHand(ours), x),
        "lvkam_pyro, prior proposal": make_step(importance(ours, lv.PriorGuide(ours)), x),
        "lvkam_pyro, amortised proposal": make_step(
            lv.EmpiricalBayes(8)(amortized, lv.AmortizedGuide(amortized, x)), x
        ),
        "lvkam_pyro, Normal.to_event": make_step(importance(idiom, lv.PriorGuide(idiom)), x),
        "Pyro RenyiELBO, S = 64": make_elbo_step(renyi_bound, renyi, renyi_guide(renyi), x),
        "Pyro VAE, Trace_ELBO": make_step(Trace_ELBO()(vae, lv.AmortizedGuide(vae, x)), x),
    }


def measure(steps: dict[str, Step], *, rounds: int, updates: int) -> dict[str, list[float]]:
    """CPU milliseconds an update, in alternating blocks."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for round_number in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            for _ in range(updates):
                step()
            if round_number > 0:  # the first block warms up
                times[name].append(1e3 * (time.process_time() - start) / updates)
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--updates", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x = torch.from_numpy(load_digits().data[:BATCH]).float() / 16
    times = measure(build_steps(x), rounds=options.rounds, updates=options.updates)
    base = times["torch by hand (autograd)"]
    print(f"{'implementation':<34}{'ms CPU':>9}{'ratio to torch by hand':>25}")
    for name, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, base, strict=True))
        print(f"{name:<34}{statistics.median(values):>9.2f}{ratio:>25.2f}")


if __name__ == "__main__":
    main()
