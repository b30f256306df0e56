"""Held-out log evidence of the digits after equal CPU time: the recipes against other models.

All are fitted to the same 1437 dequantised images of `models/digits.py` on one torch thread, and
scored on the other 360. What is trained by gradients, ours and Pyro's variational autoencoders
alike, runs as many epochs as fit into the budget, by the time that a few epochs take beforehand,
with a cosine over them. scikit-learn's models end where they converge, far below the budget.

Models with a density in closed form are scored by it. The others have one estimator, importance
sampling with their trained guide, a lower bound in expectation; `bad` is the number of data whose
weights have a Pareto k above 0.7. On the first data (`--num-ladder`) tempered SMC, which needs no
guide, stands beside it on the same ones.

    OMP_NUM_THREADS=1 python benchmarks/fit_digits.py --seeds 0 1 2
"""

import argparse
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import Trace_ELBO
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

import lvkam_pyro as lv
from lvkam_pyro.programs import load_program
from lvkam_pyro.training.loop import Fit

NUM_LATENTS, NUM_OUTPUTS, NUM_LEVELS = 16, 64, 17
TRIAL_EPOCHS = 8


class ScaleOfPixel(nn.Module):
    """Normal noise with a learned scale for each pixel."""

    num_inputs = NUM_OUTPUTS

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.full((NUM_OUTPUTS,), math.log(0.1)))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        return dist.Normal(output, self.log_scale.exp()).to_event(1)


class ScaleOfDecoder(nn.Module):
    """Normal noise whose scale for each pixel is the decoder's, between e^-5 and 1."""

    num_inputs = 2 * NUM_OUTPUTS

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        loc, raw = output.chunk(2, -1)
        return dist.Normal(loc, (2.5 * torch.tanh(raw / 2.5) - 2.5).exp()).to_event(1)


class Quantized(lv.QuantizedLikelihood):
    """The noise of our own model."""

    num_inputs = NUM_OUTPUTS

    def __init__(self) -> None:
        super().__init__(NUM_OUTPUTS, num_levels=NUM_LEVELS)


class VAE(pyro.nn.PyroModule):
    """A variational autoencoder as in Pyro's tutorial, with as many latents as ours."""

    def __init__(self, noise: nn.Module) -> None:
        super().__init__()
        self.decoder = nn.Sequential(
            nn.Linear(NUM_LATENTS, 128), nn.SiLU(), nn.Linear(128, noise.num_inputs)
        )
        self.noise = noise

    def forward(self, x: Tensor) -> Tensor:
        """Declare the model on data `x`."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(NUM_LATENTS), 1.0).to_event(1))
            return pyro.sample("x", self.noise(self.decoder(z)), obs=x)


def vae_recipe(num_epochs: int) -> lv.Recipe:
    """Pyro's Trace_ELBO by Adam."""
    return lv.Recipe(
        name="vae",
        build_guide=lambda model, x: lv.AmortizedGuide(model, x, hidden=(256, 256)),
        objective=Trace_ELBO(),
        num_epochs=num_epochs,
        learning_rate=2e-3,
        max_gradient_norm=100.0,
    )


def build_vae(noise: Callable[[], nn.Module]) -> VAE:
    return VAE(noise())


def build_digits(quantized: bool) -> lv.LVKAM:
    model: lv.LVKAM = load_program("model", "digits").build({"quantized": quantized})
    return model


def build_recipe(name: str, num_epochs: int) -> lv.Recipe:
    recipe: lv.Recipe = load_program("inference", name).build({"num_epochs": num_epochs})
    return recipe


@dataclass(frozen=True)
class Trained:
    """A Pyro model, and the recipe that trains it for a number of epochs."""

    build: Callable[[], pyro.nn.PyroModule]
    recipe: Callable[[int], lv.Recipe]


CLOSED_FORM = {
    "probabilistic PCA, 16": lambda seed: PCA(16, svd_solver="full"),
    "probabilistic PCA, 32": lambda seed: PCA(32, svd_solver="full"),
    "factor analysis, 16": lambda seed: FactorAnalysis(16, random_state=seed),
    "factor analysis, 32": lambda seed: FactorAnalysis(32, random_state=seed),
    "Gaussian mixture, 10 full": lambda seed: GaussianMixture(
        10, reg_covar=1e-3, random_state=seed
    ),
    "Gaussian mixture, 100 diagonal": lambda seed: GaussianMixture(
        100, covariance_type="diag", reg_covar=1e-3, random_state=seed
    ),
}
TRAINED = {
    "Pyro VAE, scale of the pixel": Trained(partial(build_vae, ScaleOfPixel), vae_recipe),
    "Pyro VAE, scale of the decoder": Trained(partial(build_vae, ScaleOfDecoder), vae_recipe),
    "Pyro VAE, our quantized noise": Trained(partial(build_vae, Quantized), vae_recipe),
    "LV-KAM, amortized (default)": Trained(
        partial(build_digits, True), partial(build_recipe, "amortized")
    ),
    "LV-KAM, iwae": Trained(partial(build_digits, True), partial(build_recipe, "iwae")),
    "LV-KAM, normal noise, amortized": Trained(
        partial(build_digits, False), partial(build_recipe, "amortized")
    ),
    "LV-KAM, normal noise, lookahead": Trained(
        partial(build_digits, False), partial(build_recipe, "lookahead")
    ),
}


@dataclass(frozen=True)
class Score:
    """What a model reached, in nats per datum.

    Attributes:
        train: On as many of the training data as there are held-out ones.
        test: On the held-out data.
        bad: How many of them have an unreliable estimate.
        importance: On the first held-out data alone, as `test`.
        ladder: On these, by tempered SMC.
        seconds: CPU time of the fit.
    """

    train: float
    test: float
    bad: float = 0
    importance: float = math.nan
    ladder: float = math.nan
    seconds: float = 0


def fit_in_closed_form(name: str, x: Tensor, x_test: Tensor, seed: int) -> Score:
    start = time.process_time()
    model = CLOSED_FORM[name](seed).fit(x.double().numpy())
    seconds = time.process_time() - start
    train, test = (float(model.score(data.double().numpy())) for data in (x[: len(x_test)], x_test))
    return Score(train, test, seconds=seconds)


def train(entry: Trained, x: Tensor, seed: int, num_epochs: int) -> tuple[Fit, float]:
    """A fit and its CPU seconds."""
    start = time.process_time()
    torch.manual_seed(seed)
    fit = lv.fit(entry.build(), x, entry.recipe(num_epochs), seed=seed, progress=False)
    return fit, time.process_time() - start


def train_in_budget(entry: Trained, x: Tensor, seed: int, budget: float) -> tuple[Fit, float]:
    train(entry, x, seed, 1)  # warms up
    _, trial = train(entry, x, seed, TRIAL_EPOCHS)
    return train(entry, x, seed, max(1, int(budget * TRIAL_EPOCHS / trial)))


def score(fit: Fit, x: Tensor, x_test: Tensor, options: argparse.Namespace) -> Score:
    importance = lv.evidence.Importance(options.num_particles, num_replicates=10)
    test = importance.estimate(fit.model, x_test, guide=fit.guide)
    train = importance.estimate(fit.model, x[: len(x_test)], guide=fit.guide)
    first = x_test[: options.num_ladder]
    ladder = lv.evidence.TemperedSMC().estimate(fit.model, first).mean if len(first) else math.nan
    return Score(
        train=train.mean,
        test=test.mean,
        bad=int(test.verdict.unreliable.sum()),
        importance=float(test.log_evidence[: len(first)].mean()),
        ladder=ladder,
    )


def measure(seed: int, options: argparse.Namespace) -> Iterator[tuple[str, Score]]:
    """The scores of all models on one split, in turn."""
    x, x_test = load_program("model", "digits").load_data(seed=seed)
    for name in CLOSED_FORM:
        yield name, fit_in_closed_form(name, x, x_test, seed)
    for name, entry in TRAINED.items():
        fit, seconds = train_in_budget(entry, x, seed, options.budget)
        yield name, replace(score(fit, x, x_test, options), seconds=seconds)


def row(name: str, scores: Sequence[Score]) -> str:
    """A line of the table: means over the seeds, and how far they are spread."""
    columns = {field.name: [getattr(s, field.name) for s in scores] for field in fields(Score)}
    means = {name: statistics.fmean(values) for name, values in columns.items()}
    spread = statistics.stdev(columns["test"]) if len(scores) > 1 else math.nan
    return (
        f"{name:<32}{means['test']:>8.1f}{spread:>7.1f}{means['train']:>8.1f}{means['bad']:>6.0f}"
        f"{means['importance']:>9.1f}{means['ladder']:>7.1f}{means['seconds']:>9.1f}"
    )


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--budget", type=float, default=30.0, help="CPU seconds of a training")
    parser.add_argument("--num-particles", type=int, default=5000, help="of the estimate")
    parser.add_argument("--num-ladder", type=int, default=20, help="data for tempered SMC")
    return parser.parse_args()


def main() -> None:
    """Print the table of each seed as it comes, then that of all."""
    options = parse_options()
    torch.set_num_threads(1)
    scores: dict[str, list[Score]] = {}
    header = (
        f"{'model':<32}{'test':>8}{'+-':>7}{'train':>8}{'bad':>6}{'of these':>9}{'SMC':>7}"
        f"{'CPU s':>9}"
    )
    for seed in options.seeds:
        print(f"split and seed {seed}\n{header}", flush=True)
        for name, found in measure(seed, options):
            scores.setdefault(name, []).append(found)
            print(row(name, [found]), flush=True)
    if len(options.seeds) == 1:
        return
    print(f"mean over {len(options.seeds)} seeds\n{header}")
    for name, found_by_seed in scores.items():
        print(row(name, found_by_seed))


if __name__ == "__main__":
    main()
