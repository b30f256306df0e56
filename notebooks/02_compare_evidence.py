# %% [markdown]
# # Compare estimates of the evidence
#
# The log evidence of a datum is $\log p(x_n) = \log \int p(x_n \mid z)\, p(z)\, dz$, in nats. It
# is an integral, and every estimate of it can be wrong in its own way. Here seven estimators meet
# a model whose evidence is known in closed form, then a small LV-KAM whose evidence is a sum over
# a grid, then the digits, where nothing is known and only agreement and diagnostics remain.

# %%
import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch

import lvkam_pyro as lv

# %% [markdown]
# ## A model with an exact answer
#
# A linear map of three normal latents with normal noise, so that $x \sim N(0, W^\top W + \sigma^2
# I)$. The map is a buffer: nothing trains it.


# %%
class Linear(pyro.nn.PyroModule):
    def __init__(self, weight: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(self.weight)), 1.0).to_event(1))
            return pyro.sample("x", dist.Normal(z @ self.weight, self.scale).to_event(1), obs=x)


def log_normaliser(t: torch.Tensor, model: Linear, x: torch.Tensor) -> torch.Tensor:
    """Log of the integral of p(x|z)^t p(z) over z, per datum; at t = 1 it is the log evidence."""
    weight, variance, size = model.weight.double(), model.scale**2, x.shape[1]
    noise = variance / t * torch.eye(size, dtype=torch.float64)
    marginal = dist.MultivariateNormal(torch.zeros(size).double(), weight.T @ weight + noise)
    log_constant = 0.5 * size * ((1 - t) * torch.tensor(2 * torch.pi * variance).log() - t.log())
    return marginal.log_prob(x.double()) + log_constant


torch.manual_seed(0)
linear = Linear(torch.randn(3, 6), scale=0.5)
x_train = pyro.poutine.uncondition(linear)(torch.empty(2000, 6))
x = pyro.poutine.uncondition(linear)(torch.empty(60, 6))
exact = log_normaliser(torch.tensor(1.0).double(), linear, x)
print(f"{len(x)} data; exact log evidence: {exact.mean():.3f} nats per datum")

# %% [markdown]
# Thermodynamic integration, steppingstone and the multistate Bennett ratio (`MultistateBAR`) read
# one ladder of power posteriors $p_t(z) \propto p(x \mid z)^t\, p(z)$. `compare_evidence` sees
# that their ladders are equal and runs it once. Importance sampling, plain and quasi-Monte Carlo,
# and the ELBO need a guide: a network, trained to cover the posterior (wake and sleep). A guide
# that was trained by the ELBO tends to be too narrow for weights.

# %%
recipe = lv.Recipe(
    name="guide",
    build_guide=lambda model, x: lv.AmortizedGuide(model, x, hidden=(64, 64)),
    objective=lv.EmpiricalBayes(num_particles=8, sleep_weight=1.0),
    num_epochs=40,
    learning_rate=0.005,
)
guide = lv.fit(linear, x_train, recipe, progress=False).guide

ladder = lv.ladder.Ladder(num_temperatures=12, num_chains=16, num_warmup=60, num_samples=60)
estimators = [
    lv.evidence.Lookahead(),
    lv.evidence.QuasiMonteCarlo(8192),
    lv.evidence.Importance(8192),
    lv.evidence.ThermodynamicIntegration(ladder),
    lv.evidence.SteppingStone(ladder),
    lv.evidence.MultistateBAR(ladder),
    lv.evidence.ELBO(),
]
comparison = lv.compare_evidence(linear, x, estimators, guide=guide, progress=False)
print(comparison)

# %% [markdown]
# ## Are the errors right?
#
# An estimate without an error is of no use, and an error is only of use if it is right. The error
# of each estimate, divided by the standard error that it came with, should spread like Student's
# t: mostly within ±2, with a standard deviation near 1. `Lookahead` is exact for linear models,
# which leaves rounding; the ELBO is no estimate, so both are left out. Thermodynamic integration
# has a second error, of its temperature grid, which is added to both ends of its intervals. Data
# share the points of quasi-Monte Carlo, so that its errors are nearly one error for all: its marks
# stay together.

# %%
shown = [row.evidence for row in comparison if not row.is_lower_bound][1:]
figure, axes = plt.subplots(figsize=(6.4, 2.8), layout="constrained")
axes.axvspan(-2, 2, color="0.93")
print(f"{'estimator':<18}{'mean z':>8}{'sd of z':>9}{'|z| > 2':>9}{'grid error':>12}")
for y, evidence in enumerate(shown):
    z = (evidence.log_evidence - exact) / evidence.standard_error
    grid = evidence.total_discretization_error / len(x)
    outside = int((z.abs() > 2).sum())
    print(f"{evidence.estimator:<18}{z.mean():>8.2f}{z.std():>9.2f}{outside:>6}/60{grid:>12.5f}")
    axes.plot(z, [y] * len(z), "|", markersize=14)
axes.set_yticks(range(len(shown)), [evidence.estimator for evidence in shown])
axes.set(
    xlabel="error of the estimate / its standard error, one mark a datum",
    ylim=(len(shown) - 0.4, -0.6),
)
plt.show()

# %% [markdown]
# ## The thermodynamic curve
#
# Along the ladder the mean log-likelihood $E_t$ can only rise, and the area under it is the log
# evidence. In this model the curve is known too: it is the derivative of $\log \int p(x \mid z)^t
# p(z)\, dz$ in $t$.

# %%
evidence = comparison["model", "Thermodynamic"]
temperatures = evidence.diagnostics["temperatures"][1:].clone().requires_grad_(True)
areas = torch.stack([log_normaliser(t, linear, x).mean() for t in temperatures])
(curve,) = torch.autograd.grad(areas.sum(), temperatures)
axes = lv.plots.thermodynamic_curve(evidence)
t = temperatures.detach()
for one, values in zip(axes, (curve, 5 * t**0.8 * curve), strict=True):
    one.plot(t, values, "k+", markersize=9, label="exact")
axes[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# ## A small LV-KAM
#
# With up to three latents `Quadrature` is exact for any likelihood, so it can be the
# yardstick of a fitted LV-KAM, whose posterior has branches. The model is that of two moons, with
# two latents of two components each.

# %%
moons = lv.programs.load_program("model", "two_moons")
moons_train, moons_test = moons.load_data(seed=0)
recipe = lv.load_recipe("importance", num_epochs=40)
torch.manual_seed(0)
fit = lv.fit(moons.build({}), moons_train, recipe, progress=False)
estimators = [
    lv.evidence.Quadrature(),
    lv.evidence.Lookahead(),
    lv.evidence.Importance(16384),
    lv.evidence.ThermodynamicIntegration(ladder),
    lv.evidence.SteppingStone(ladder),
    lv.evidence.MultistateBAR(ladder),
]
comparison = lv.compare_evidence(fit.model, moons_test[:60], estimators, progress=False)
print(comparison)
exact = comparison["model", "Quadrature"].log_evidence
print()
for row in list(comparison)[1:]:
    error = row.evidence.log_evidence - exact
    z = error / row.evidence.standard_error
    worst = error.abs().max()
    print(f"{row.evidence.estimator:<14} worst error {worst:.3f} nats, sd of z {z.std():.2f}")

# %% [markdown]
# ## The digits
#
# Here nobody knows the answer. Two models of 8 x 8 images, with 4 and with 8 latents and normal
# noise (the program's own noise, rounded to the grey levels, rules look-ahead out), are trained
# for 30 epochs by reweighted wake-sleep; 30 images are held out. Chains, look-ahead and weighted
# draws of the guide share no mathematics, so that their agreement means something.

# %%
digits = lv.programs.load_program("model", "digits")
digits_train, digits_test = digits.load_data(seed=0)
recipe = lv.load_recipe("amortized", num_epochs=30)
fits = {}
for num_latents in (4, 8):
    torch.manual_seed(0)
    model = digits.build({"num_latents": num_latents, "quantized": False})
    fits[f"{num_latents} latents"] = lv.fit(model, digits_train, recipe, progress=False)

ladder = lv.ladder.Ladder(num_temperatures=16, num_chains=8, num_warmup=100, num_samples=80)
estimators = [
    lv.evidence.ThermodynamicIntegration(ladder),
    lv.evidence.SteppingStone(ladder),
    lv.evidence.Lookahead(),
    lv.evidence.Importance(4096),
    lv.evidence.ELBO(),
]
comparison = lv.compare_evidence(
    {name: fit.model for name, fit in fits.items()},
    digits_test[:30],
    estimators,
    guide={name: fit.guide for name, fit in fits.items()},
    progress=False,
)
print(comparison)

# %% [markdown]
# The verdicts say which rows to leave aside: where a datum's importance weights have a Pareto k
# above 0.7, neither the estimate nor its error can be trusted. The forest of one model shows the
# same with 95 % intervals: a hollow point is unreliable, a triangle is a lower bound, at the left
# edge where it lies outside of the picture.

# %%
axes = lv.plots.evidence([row for row in comparison if row.model == "8 latents"])
plt.show()

# %% [markdown]
# ## Which model?
#
# The log Bayes factor is the difference of the total log evidences. Its Monte Carlo error says how
# well it is known for these 30 images, the error over data how much it would change with 30
# others. Bounds are left out: the difference of two bounds is no bound of the difference.

# %%
print(comparison.bayes_factors(reference="4 latents"))

# %%
axes = lv.plots.thermodynamic_curve(comparison["8 latents", "Thermodynamic"])
plt.show()

# %% [markdown]
# ## One datum
#
# All of it is there per datum. For the image whose importance weights are worst, the estimates
# side by side with their 95 % intervals:

# %%
worst = int(comparison["8 latents", "Importance"].diagnostics["pareto_k"].argmax())
for estimator in ("Thermodynamic", "SteppingStone", "Lookahead", "Importance"):
    evidence = comparison["8 latents", estimator]
    low, high = (end[worst].item() for end in evidence.interval(0.95))
    verdict = "unreliable" if evidence.verdict.unreliable[worst] else "reliable"
    print(
        f"{estimator:<14}{evidence.log_evidence[worst]:>8.2f}  [{low:.2f}, {high:.2f}]  {verdict}"
    )

# %% [markdown]
# Which estimator to use when, what the verdicts mean, and what no diagnostic can see: the page on
# evidence in the documentation. `Auto()` chooses by itself, datum by datum.
