"""The jobs that have to work on every device: the table that test_devices.py runs over.

Run as a program it tries everything on the second device that needs no hardware, in a process of
its own, and writes down what went wrong.
"""

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import torch
import torch.distributions as dist
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.commands.pictures import draw_data
from lvkam_pyro.programs import load_program
from tests.second_device import NAME, SecondDevice, register
from tests.training.toy import toy_data

ROOT = Path(__file__).parent.parent
X = toy_data(40, 3)
Job = Callable[[str], object]
LADDER = lv.ladder.Ladder(num_temperatures=4, num_chains=4, num_warmup=4, num_samples=4)


def model(device: str, **options: object) -> lv.LVKAM:
    torch.manual_seed(0)
    basis = options.pop("basis", None) or lv.BSplineBasis(grid_size=4)
    prior = options.pop("prior", None) or lv.MixturePrior(2, num_components=2, basis=basis)
    generator = options.pop("generator", None) or lv.KANGenerator(2, 3, basis=basis)
    return lv.LVKAM(prior, generator, lv.NormalLikelihood(3, scale=0.5)).to(device)


def recipe(name: str) -> lv.Recipe:
    small = {"num_epochs": 1, "batch_size": 20, "hidden": [4], "num_nodes": 8, "num_particles": 4}
    small |= {"num_chains": 4, "num_warmup": 2, "num_samples": 4, "num_temperatures": 3}
    small |= {"num_evidence_particles": 64, "num_replicates": 2}
    program = load_program("inference", name)
    known = program.options()
    return program.build(program.parse({k: str(v) for k, v in small.items() if k in known}))


def train(device: str, x: Tensor, used: lv.Recipe | None = None, **options: object) -> lv.LVKAM:
    fitted = model(device, **options)
    lv.fit(fitted, x.to(device), used or recipe("amortized"), progress=False)
    assert next(fitted.parameters()).device.type == torch.device(device).type
    return fitted


def train_by(name: str) -> Job:
    """Trains by a recipe, estimates the evidence as the recipe does, and draws."""

    def job(device: str) -> None:
        x, used = X.to(device), recipe(name)
        result = lv.fit(model(device), x, used, x_test=x[:5], progress=False)
        lv.compare_evidence(
            result.model, x[:2], used.estimators, guide=result.guide, progress=False
        )
        assert draw_data(result.model, x[:5]).device == x.device

    return job


def train_program(name: str) -> Job:
    def job(device: str) -> None:
        program = load_program("model", name)
        built, (x, _) = program.build({}).to(device), program.load_data(seed=0)
        lv.fit(built, x[:20].to(device), recipe("amortized"), progress=False)

    return job


def estimate(make: Callable[[], lv.evidence.Estimator]) -> Job:
    return lambda device: make().estimate(model(device), X[:2].to(device))


def propose(make: Callable[[lv.LVKAM, Tensor], object]) -> Job:
    def job(device: str) -> None:
        used = model(device)
        # A datum that the model draws, so that rejection is not hopeless.
        x = draw_data(used, X[:1].to(device))
        draws = lv.draw_particles(used, make(used, x), x, num_particles=8).resample(4)
        assert all(value.device == x.device for value in draws.values())

    return job


def density_of(
    reference: dist.Distribution | lv.modules.ReferenceMeasure, high: float = 1.0
) -> Job:
    """The numbers of a density are those of the CPU, and all else runs."""

    def job(device: str) -> None:
        torch.manual_seed(0)
        basis = lv.BSplineBasis(grid_size=4, domain=(0.0, high))
        here = lv.MixturePrior(2, num_components=2, basis=basis, reference=reference)
        z = here().sample((6,)).clamp(0.01, high - 0.01)
        levels = torch.linspace(0.1, 0.9, 6)[:, None].expand(6, 2)
        numbers = _numbers(here.densities(), z, levels)
        there = here.to(device).densities()
        for one, other in zip(
            numbers, _numbers(there, z.to(device), levels.to(device)), strict=True
        ):
            torch.testing.assert_close(one, other.cpu(), rtol=1e-4, atol=1e-5)
        _use(here, there)

    return job


def _numbers(law: dist.Distribution, z: Tensor, levels: Tensor) -> list[Tensor]:
    moments = [law.mean, law.variance, law.entropy(), dist.kl_divergence(law, law)]
    return [each.detach() for each in (law.log_prob(z), law.cdf(z), law.icdf(levels), *moments)]


def _use(prior: lv.MixturePrior, law: dist.Distribution) -> None:
    z = prior().rsample((40,)).detach()
    dist.biject_to(law.support).inv(z).sum()
    dist.biject_to(prior().support)(torch.zeros_like(z))
    prior.summary()
    prior.to_symbolic()
    prior.update_knots(z)


def change_grids(device: str) -> None:
    used = model(device)
    z = used.prior().sample((50,))
    lv.kan.update_grid(used.generator, z)
    lv.kan.refine_grid(used.generator, 8)
    lv.kan.prune(used.generator, z)
    lv.kan.fit_symbolic_layer(used.generator.layers[0], z)
    lv.plots.functions(used.generator, prior=used.prior)
    lv.plots.prior_densities(used.prior, posterior=z[None])


def move_grids(device: str) -> None:
    updates = lv.training.GridUpdates(schedule=lv.kan.GridSchedule(every=1), move_prior=True)
    train(device, X, replace(recipe("amortized"), grid_updates=updates))


PROGRAMS = ["digits", "gated_digits", "linear_gaussian", "text"]
if find_spec("palmerpenguins") is not None:  # Of the extra [examples].
    PROGRAMS.append("penguins")

CASES: dict[str, Job] = {
    **{f"recipe {path.stem}": train_by(path.stem) for path in (ROOT / "inference").glob("*.py")},
    **{f"program {name}": train_program(name) for name in PROGRAMS},
    "importance": estimate(lambda: lv.evidence.Importance(64)),
    "quasi": estimate(lambda: lv.evidence.QuasiMonteCarlo(64)),
    "quadrature": estimate(lv.evidence.Quadrature),
    "thermodynamic": estimate(lambda: lv.evidence.ThermodynamicIntegration(LADDER)),
    "multistate": estimate(lambda: lv.evidence.MultistateBAR(LADDER)),
    "HMC": estimate(
        lambda: lv.evidence.SteppingStone(replace(LADDER, kernel=lv.ladder.HMC(num_steps=2)))
    ),
    "Gibbs": estimate(
        lambda: lv.evidence.GridGibbs(replace(LADDER, kernel=lv.ladder.GridGibbsKernel()))
    ),
    "annealed": estimate(lambda: lv.evidence.AnnealedImportance(16, num_temperatures=3)),
    "SMC": estimate(lambda: lv.evidence.TemperedSMC(32, num_moves=1)),
    "look-ahead": estimate(lambda: lv.evidence.Lookahead(64)),
    "auto": estimate(
        lambda: lv.evidence.Auto([lv.evidence.Quadrature(), lv.evidence.MultistateBAR(LADDER)])
    ),
    "prior guide": propose(lambda used, x: lv.PriorGuide(used)),
    "amortised guide": propose(lv.AmortizedGuide),
    "importance guide": propose(
        lambda used, x: lv.guides.ImportanceGuide(used, lv.PriorGuide(used), num_particles=16)
    ),
    "rejection guide": propose(lambda used, x: lv.guides.RejectionGuide(used)),
    "look-ahead guide": propose(lambda used, x: lv.guides.LookaheadGuide(used)),
    "uniform": density_of(dist.Uniform(0.0, 1.0)),
    "normal": density_of(dist.Normal(0.5, 1.0)),
    "lognormal": density_of(dist.LogNormal(0.0, 1.0), high=4.0),
    "learned normal": density_of(lv.modules.NormalReference()),
    "product prior": lambda device: train(device, X, prior=lv.ProductPrior(2)),
    "drawn by rejection": lambda device: train(
        device,
        X,
        recipe("importance"),
        prior=lv.MixturePrior(2, sampler=lv.distributions.RejectionSampler()),
    ),
    "experts": lambda device: train(device, X, generator=lv.MixtureOfExperts(2, 3)),
    "non-uniform": lambda device: train(
        device, X, basis=lv.kan.NonUniformBSplineBasis(torch.linspace(0, 1, 5))
    ),
    "RBF": lambda device: train(device, X, basis=lv.kan.RBFBasis(4)),
    "Fourier": lambda device: train(device, X, basis=lv.kan.FourierBasis(4)),
    "moving grids": move_grids,
    "changed grids": change_grids,
    "to_arviz": lambda device: lv.to_arviz(train(device, X), X[:2].to(device), guide=None),
}


def errors() -> dict[str, str]:
    """The cases that fail on the second device, with the reason."""
    register()
    mpl.use("agg")
    failed = {}
    for name, job in CASES.items():
        try:
            with SecondDevice():
                job(NAME)
        except Exception:
            failed[name] = traceback.format_exc()
    return failed


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(errors()), encoding="utf-8")
