# %% [markdown]
# # Declare a model
#
# The Latent Variable Kolmogorov-Arnold Model (LV-KAM) makes data out of two finite sums of
# functions of one variable:
#
# $$z_q \sim p(z_q) = \frac{\exp(f_q(z_q))\,\pi_0(z_q)}{Z_q}, \qquad
# x_o \sim N\Big(\sum_q \Phi_{oq}(z_q),\ \sigma_o^2\Big).$$
#
# Every $f_q$ and every $\Phi_{oq}$ is a spline and can be plotted. The prior $p(z_q)$ is learned
# from the data, yet it is an ordinary Pyro distribution: normalised, with exact draws. Here such a
# model is declared in Pyro's own syntax, fitted to 150 flowers, and looked at. Then the same model
# is written in one line, and trained by hand with `SVI` and with a torch optimiser.

# %%
from dataclasses import replace

import matplotlib.pyplot as plt
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, Trace_ELBO
from sklearn.datasets import load_iris

import lvkam_pyro as lv

iris = load_iris()
cm = torch.tensor(iris.data, dtype=torch.float32)
mean, sd = cm.mean(0), cm.std(0)
x = (cm - mean) / sd
measurements = ["sepal length", "sepal width", "petal length", "petal width"]
print(f"{len(x)} flowers, {x.shape[1]} measurements: {', '.join(measurements)}")
print("standard deviations in cm, the units of x:", sd)
print(f"species, which the model does not see: {', '.join(iris.target_names)}")

# %% [markdown]
# ## A Pyro model with a learned prior
#
# `MixturePrior` and `KANGenerator` are torch modules: calling the prior gives a distribution over
# all latents of one datum, calling the generator gives the sum of its functions. The rest is Pyro:
# one plate of data, one latent site, one observed site.


# %%
class Flowers(pyro.nn.PyroModule):
    def __init__(self) -> None:
        super().__init__()
        basis = lv.BSplineBasis(grid_size=6)
        self.prior = lv.MixturePrior(num_latents=2, basis=basis)
        self.generator = lv.KANGenerator(2, 4, basis=basis)
        self.log_scale = torch.nn.Parameter(torch.full((4,), -0.7))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", self.prior())
            noise = dist.Normal(self.generator(z), self.log_scale.exp())
            return pyro.sample("x", noise.to_event(1), obs=x)


torch.manual_seed(3)
model = Flowers()
z = model.prior().sample((3,))
print(
    "three draws of the prior:",
    z,
    "and their log densities:",
    model.prior().log_prob(z).detach(),
    sep="\n",
)

# %% [markdown]
# ## Fit
#
# A `Recipe` says everything about inference that is not the model. With two latents, draws of the
# prior itself, weighed by the likelihood, reach the posterior (`PriorGuide`; with many latents one
# needs `AmortizedGuide` or `LookaheadGuide`). The objective `EmpiricalBayes` follows the gradient
# of the log evidence in all parameters, those of the prior included.

# %%
recipe = lv.Recipe(
    name="flowers",
    build_guide=lambda model, x: lv.PriorGuide(model),
    objective=lv.EmpiricalBayes(num_particles=512),
    num_epochs=300,
    learning_rate=0.03,
    regularizer=lv.training.Smoothness(1.0),
)
fit = lv.fit(model, x, recipe, progress=False)
axes = lv.plots.loss(fit.metrics)

# %% [markdown]
# The loss is minus an estimate of the log evidence with few particles. With two latents the
# evidence is a sum over a grid, exact to the digits shown, and estimates can be held against it.

# %%
estimators = [lv.evidence.Quadrature(), lv.evidence.Lookahead(), lv.evidence.Importance(16384)]
print(lv.compare_evidence(model, x, estimators, progress=False))

# %% [markdown]
# ## The densities
#
# The dashed line is the reference $\pi_0$ from which the prior started, here uniform. The
# histogram is made of posterior draws of all flowers: a prior that was learned by maximum
# likelihood follows it.

# %%
with torch.no_grad():
    particles = lv.draw_particles(
        model, lv.guides.LookaheadGuide(model, num_particles=256), x, num_particles=256
    )
    posterior = particles.resample(100)["z"]
axes = lv.plots.prior_densities(model.prior, posterior=posterior)
print(model.prior.summary())

# %% [markdown]
# The density of latent 0 has two peaks. The model was told no species, but the posterior means of
# the flowers show what the peaks are.

# %%
means = posterior.mean(0)
figure, axes = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
for species, name in enumerate(iris.target_names):
    chosen = means[iris.target == species]
    axes.scatter(chosen[:, 0], chosen[:, 1], s=12, label=name)
axes.set(
    xlabel="posterior mean of latent 0",
    ylabel="posterior mean of latent 1",
    xlim=(0, 1),
    ylim=(0, 1),
)
axes.legend(title="species")
plt.show()
# %% [markdown]
# ## The functions
#
# A row is a latent, a column an output; the marks are draws of the prior. A function says nothing
# where there are no marks. A constant can move from one function of a column to the other without
# changing the model, so only shapes and ranges have a meaning.

# %%
axes = lv.plots.function_grid(model.generator.layers[0], samples=model.prior().sample((100,)))
for o, name in enumerate(measurements):
    axes[0, o].set_title(name)
    for latent, row in enumerate(axes):
        row[o].set(xlabel=f"latent {latent}", ylabel="to x (sd)")
plt.show()

# %% [markdown]
# ## Samples
#
# `pyro.poutine.uncondition` turns what a Pyro program observes into what it draws: a call makes as
# many new flowers as it gets rows.

# %%
torch.manual_seed(1)
with torch.no_grad():
    draws = pyro.poutine.uncondition(model)(x) * sd + mean
figure, axes = plt.subplots(
    1, 2, figsize=(6.4, 2.9), sharex=True, sharey=True, layout="constrained"
)
for one, values, title in zip(axes, (cm, draws), ("flowers", "draws from the model"), strict=True):
    one.scatter(values[:, 2], values[:, 1], s=8)
    one.set(title=title, xlabel="petal length (cm)")
axes[0].set_ylabel("sepal width (cm)")
plt.show()

# %% [markdown]
# ## The same in one line
#
# `LVKAM` puts prior, generator and likelihood together as above. Because it knows their kinds, it
# can start from principal components (`PCAStart`), and then needs fewer epochs.


# %%
def build() -> lv.LVKAM:
    """The ready-made model with two latents."""
    basis = lv.BSplineBasis(grid_size=6)
    return lv.LVKAM(
        lv.MixturePrior(2, basis=basis), lv.KANGenerator(2, 4, basis=basis), lv.NormalLikelihood(4)
    )


torch.manual_seed(0)
short = replace(recipe, start=lv.training.PCAStart(), num_epochs=100)
ready_made = lv.fit(build(), x, short, progress=False).model

# %% [markdown]
# ## SVI by hand
#
# Nothing above is needed to train: the model is a Pyro program, and `SVI` with Pyro's own
# `Trace_ELBO` trains it like any other. `AmortizedGuide` is a guide that exists from the start: a
# network from a datum to a proposal on the prior's interval. SVI keeps parameters by name in
# Pyro's global store, so the store is emptied before a second model of the same names.

# %%
pyro.clear_param_store()
torch.manual_seed(0)
by_svi = build()
lv.training.PCAStart()(by_svi, x)
guide = lv.AmortizedGuide(by_svi, x, hidden=(32,))
elbo = Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
svi = SVI(by_svi, guide, pyro.optim.Adam({"lr": 0.01}), loss=elbo)
losses = [svi.step(x) / len(x) for _ in range(600)]
print(f"loss, nats per datum: {losses[0]:.2f} at first, {sum(losses[-50:]) / 50:.2f} at last")

# %% [markdown]
# ## A torch optimiser by hand
#
# Every ELBO of Pyro, and every objective and estimator here, is also a torch module of model and
# guide. This is what `lv.fit` does, without its checks, schedule and checkpoints. The parameters
# are those of the modules, whatever Pyro's store holds.

# %%
pyro.clear_param_store()
torch.manual_seed(0)
by_hand = build()
lv.training.PCAStart()(by_hand, x)
loss = lv.EmpiricalBayes(num_particles=512)(by_hand, lv.PriorGuide(by_hand))
optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
for _ in range(300):
    optimizer.zero_grad()
    value = loss(x)
    value.backward()
    optimizer.step()
print(f"loss, nats per datum: {value.item() / len(x):.2f} at last")

# %% [markdown]
# ## All four
#
# One table, with the exact evidence of each on the data that trained it. The likelihood has many
# maxima, so the ways to train differ by where they start and how long they climb. The ELBO has a
# cost of its own: its guide proposes one normal density a flower, and pulls the model towards
# posteriors that have this shape.

# %%
models = {"by lv.fit": model, "ready-made": ready_made, "by SVI": by_svi, "by hand": by_hand}
comparison = lv.compare_evidence(models, x, [lv.evidence.Quadrature()], progress=False)
print(comparison)
print(comparison.bayes_factors())
