# %% [markdown]
# # Write your own
#
# Every part of a model and of its inference is an object that you can replace: the basis of the
# functions, the generator, the likelihood, the guide, the estimator of the evidence. Each section
# below writes the smallest part of one kind, uses it through `fit` and `compare_evidence`, and
# holds it against a part that the library has.

# %%
from collections.abc import Callable
from dataclasses import replace

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

import lvkam_pyro as lv

moons = lv.programs.load_program("model", "two_moons")
x_train, x_test = moons.load_data(seed=0)
x_test = x_test[:100]
recipe = lv.Recipe(
    name="prior draws",
    build_guide=lambda model, x: lv.PriorGuide(model),
    objective=lv.EmpiricalBayes(num_particles=256),
    num_epochs=30,
    learning_rate=0.02,
)
print(f"two moons: {len(x_train)} points in the plane to train on, {len(x_test)} held out")


# %%
def train(model: lv.LVKAM, recipe: lv.Recipe = recipe, x: Tensor = x_train) -> lv.LVKAM:
    """The model, trained in place."""
    return lv.fit(model, x, recipe, progress=False).model


def build(
    *,
    basis: lv.kan.Basis | None = None,
    generator: nn.Module | None = None,
    likelihood: nn.Module | None = None,
) -> lv.LVKAM:
    """Two latents and two outputs, of parts of one's own where they are given."""
    torch.manual_seed(0)
    basis = lv.BSplineBasis(grid_size=10) if basis is None else basis
    prior = lv.MixturePrior(2, basis=basis)
    generator = lv.KANGenerator(2, 2, basis=basis) if generator is None else generator
    return lv.LVKAM(
        prior, generator, lv.NormalLikelihood(2, scale=0.2) if likelihood is None else likelihood
    )


splines = train(build())

# %% [markdown]
# ## A basis
#
# A basis says which functions differ from zero at a point, and their values there; how many they
# are; between which points they are smooth; and their slopes at the ends of the domain, for
# whoever continues them beyond. Here: hats, the linear interpolation between equidistant points.
# They are B-splines of degree 1, so all that is computed with them must agree with
# `BSplineBasis(degree=1)`.


# %%
class Hats(lv.kan.Basis):
    def __init__(self, grid_size: int, domain: tuple[float, float] = (0.0, 1.0)) -> None:
        super().__init__(domain)
        self.grid_size = grid_size
        self.num_functions = grid_size + 1
        self.register_buffer("points", torch.linspace(*domain, grid_size + 1), persistent=False)

    @property
    def breakpoints(self) -> Tensor:
        return self.points

    def nonzero_inside(self, z: Tensor) -> tuple[Tensor, Tensor]:
        position = (z - self.domain[0]) * self._cells_a_unit
        cell = position.detach().long().clamp(0, self.grid_size - 1)
        right = position - cell
        return torch.stack([cell, cell + 1], -1), torch.stack([1 - right, right], -1)

    def slopes_at_ends(self, dtype: torch.dtype) -> Tensor:
        return self._cells_a_unit * torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=dtype)

    @property
    def _cells_a_unit(self) -> float:
        return self.grid_size / (self.domain[1] - self.domain[0])


z = torch.rand(1000)
same = lv.BSplineBasis(grid_size=10, degree=1)
print(f"functions differ by at most {(Hats(10)(z) - same(z)).abs().max():.1e}")

mine, theirs = build(basis=Hats(10)), build(basis=same)
theirs.load_state_dict(mine.state_dict())
points = torch.rand(1000, 2)
difference = mine.prior().log_prob(points) - theirs.prior().log_prob(points)
print(f"log densities of the prior differ by at most {difference.abs().max():.1e} nats")

hats = train(build(basis=Hats(10)))
comparison = lv.compare_evidence(
    {"cubic splines": splines, "hats": hats}, x_test, [lv.evidence.Quadrature()], progress=False
)
print(comparison)

# %% [markdown]
# ## A generator
#
# Any torch module from `(..., Q)` to `(..., O)`. A linear map has an exact partner: with a prior
# whose energies are zero and whose reference is normal, the model is factor analysis, and its
# evidence a normal density.

# %%
prior = lv.MixturePrior(2, reference=dist.Normal(0.0, 1.0))
nn.init.zeros_(prior.functions.coefficients)
factors = lv.LVKAM(prior, nn.Linear(2, 2), lv.NormalLikelihood(2, scale=0.3))
marginal = dist.MultivariateNormal(
    factors.generator.bias,
    factors.generator.weight @ factors.generator.weight.T + 0.09 * torch.eye(2),
)
evidence = lv.evidence.Quadrature().estimate(factors, x_test)
difference = evidence.log_evidence - marginal.log_prob(x_test).detach()
print(f"factor analysis, exact evidence: differs by at most {difference.abs().max():.1e} nats")

torch.manual_seed(0)
network = nn.Sequential(nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 2))
models = {"KAN": splines, "perceptron": train(build(generator=network))}
estimators = [lv.evidence.Quadrature(), lv.evidence.Importance(16384)]
print(lv.compare_evidence(models, x_test, estimators, progress=False))

# %% [markdown]
# What the three models draw, beside the data. The fits are short; longer ones sharpen the picture.

# %%
models = {"cubic splines": splines, "hats": hats, "perceptron": models["perceptron"]}
torch.manual_seed(1)
with torch.no_grad():
    draws = {name: pyro.poutine.uncondition(model)(x_train) for name, model in models.items()}
figure, axes = plt.subplots(1, 4, figsize=(9, 2.5), sharex=True, sharey=True, layout="constrained")
for one, (name, points) in zip(axes, {"data": x_train, **draws}.items(), strict=True):
    one.scatter(*points[:800].T, s=2)
    one.set(title=name, xlabel="first coordinate (sd)")
axes[0].set_ylabel("second coordinate (sd)")
plt.show()

# %% [markdown]
# ## A likelihood
#
# A module from the generator's output to a distribution over `x`. Student's noise has heavier
# tails than normal noise, and becomes it as the degrees of freedom grow.


# %%
class StudentLikelihood(nn.Module):
    def __init__(self, num_outputs: int, *, df: float, scale: float = 0.2) -> None:
        super().__init__()
        self.df = df
        self.log_scale = nn.Parameter(torch.full((num_outputs,), scale).log())

    def forward(self, loc: Tensor) -> dist.TorchDistribution:
        return dist.StudentT(self.df, loc, self.log_scale.exp()).to_event(1)


normal, student = lv.NormalLikelihood(2, scale=0.2), StudentLikelihood(2, df=1e8)
loc, points = torch.zeros(len(x_test), 2).double(), x_test.double()
difference = student.double()(loc).log_prob(points) - normal.double()(loc).log_prob(points)
print(f"at 1e8 degrees of freedom they differ by at most {difference.abs().max():.1e} nats")

# %% [markdown]
# One point in twenty is moved far away. The normal model must widen its noise for them; Student's
# need not.

# %%
rng = torch.Generator().manual_seed(0)


def spoiled(x: Tensor) -> Tensor:
    """The data, one in twenty of them displaced."""
    is_moved = torch.rand(len(x), 1, generator=rng) < 0.05
    return x + is_moved * 3 * torch.randn(x.shape, generator=rng)


rough_train, rough_test = spoiled(x_train), spoiled(x_test)
models = {
    "normal": train(build(), x=rough_train),
    "Student": train(build(likelihood=StudentLikelihood(2, df=2.0)), x=rough_train),
}
comparison = lv.compare_evidence(models, rough_test, [lv.evidence.Quadrature()], progress=False)
print(comparison)
print(comparison.bayes_factors(reference="normal"))

# %% [markdown]
# ## A guide
#
# A Pyro program of the data that draws the model's latent sites. This one proposes Beta densities,
# whose parameters a network computes from the datum. Its training needs draws that follow its
# parameters only for an ELBO; wake and sleep need its density alone.


# %%
class BetaGuide(pyro.nn.PyroModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(nn.Linear(2, 64), nn.SiLU(), nn.Linear(64, 4), nn.Softplus())

    def forward(self, x: Tensor) -> Tensor:
        with pyro.plate("data", len(x)):
            first, second = (0.1 + self.network(x)).chunk(2, -1)
            return pyro.sample("z", dist.Beta(first, second).to_event(1))


wake_sleep = replace(
    recipe,
    name="Beta guide",
    build_guide=lambda model, x: BetaGuide(),
    objective=lv.EmpiricalBayes(num_particles=16, sleep_weight=1.0),
    num_epochs=60,
)
by_beta = lv.fit(build(), x_train, wake_sleep, progress=False)
logit_normal = replace(
    wake_sleep, build_guide=lambda model, x: lv.AmortizedGuide(model, x, hidden=(64,))
)
by_logit_normal = lv.fit(build(), x_train, logit_normal, progress=False)
fits = {"Beta": by_beta, "logit-normal": by_logit_normal}
print(
    lv.compare_evidence(
        {name: fit.model for name, fit in fits.items()},
        x_test,
        [lv.evidence.Quadrature(), lv.evidence.Importance(16384)],
        guide={name: fit.guide for name, fit in fits.items()},
        progress=False,
    )
)

# %% [markdown]
# ## An estimator
#
# An estimator has a name and two methods, of a program that is already bound: the model on its
# data, of which `lv.bind` has seen what it allows. `estimate_bound` returns `Evidence`: the value
# of all replicates together, the values without each of them (from which the standard errors
# come), diagnostics and a verdict. `log_evidence` gives one differentiable estimate of the total,
# by which every estimator is also a Pyro ELBO. This one is the log of the mean weight of 16
# replicates.


# %%
class MeanWeight(lv.evidence.Estimator):
    name = "MeanWeight"

    def estimate_bound(
        self, program: lv.tracing.BoundProgram, guide: Callable | None, seed: int
    ) -> lv.evidence.Evidence:
        with program.session(guide, seed=seed):
            replicates = torch.stack(
                [self.draw(program, guide).log_evidence.double() for _ in range(16)]
            )
        others = [replicates[torch.arange(16) != left_out] for left_out in range(16)]
        gate = lv.evidence.Gate.above("a spread of replicates", replicates.std(0), 0.5)
        return lv.evidence.Evidence.of(
            lv.statistics.log_mean_exp(replicates),
            torch.stack([lv.statistics.log_mean_exp(rest) for rest in others]),
            diagnostics={"spread": replicates.std(0)},
            verdict=lv.evidence.Verdict.of([gate], remedy="Use more particles."),
            num_likelihood_evaluations=16 * self.num_particles,
            estimator=self.name,
            data_hash=program.data_hash,
        )

    def log_evidence(
        self, program: lv.tracing.BoundProgram, guide: Callable | None
    ) -> tuple[Tensor, float]:
        particles = self.draw(program, guide)
        return particles.log_evidence.sum(), particles.data_scale

    def draw(self, program: lv.tracing.BoundProgram, guide: Callable | None) -> lv.Particles:
        guide = lv.PriorGuide(program.model) if guide is None else guide
        return program.draw(guide, self.num_particles)


estimators = [lv.evidence.Quadrature(), lv.evidence.Importance(16384), MeanWeight(1024)]
comparison = lv.compare_evidence(splines, x_test, estimators, progress=False)
print(comparison)
exact = comparison["model", "Quadrature"].log_evidence
for name in ("Importance", "MeanWeight"):
    evidence = comparison["model", name]
    z = (evidence.log_evidence - exact) / evidence.standard_error
    print(
        f"{name}: errors over their standard errors have mean {z.mean():.2f} and sd {z.std():.2f}"
    )

# %% [markdown]
# As an objective it trains as `EmpiricalBayes` does, whose gradient is the same: self-normalised
# weights of the prior's draws. Equal seeds give equal draws, so the two models must be one, up to
# rounding.

# %%
by_estimator = train(build(), replace(recipe, objective=MeanWeight(256)))
models = {"EmpiricalBayes": splines, "MeanWeight": by_estimator}
comparison = lv.compare_evidence(models, x_test, [lv.evidence.Quadrature()], progress=False)
print(comparison)
