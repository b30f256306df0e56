# %% [markdown]
# # Hierarchical models: pooled, partial, or none
#
# Eight schools each tried a coaching programme for a test; of each there is an estimated effect and
# its standard error (Rubin 1981). Three Pyro programs say how much the schools have in common: all
# of it, some of it, or nothing. None is of a class of this library, none has a guide, and each has
# latents that all data share: there is one evidence of the data set.

# %%
import arviz as az
import matplotlib.pyplot as plt
import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro.infer import MCMC, NUTS
from torch import Tensor

import lvkam_pyro as lv

effects = torch.tensor([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
errors = torch.tensor([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def pooled(effects: Tensor, errors: Tensor) -> None:
    """One effect, the same everywhere."""
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("schools", len(effects)):
        pyro.sample("effects", dist.Normal(mean, errors), obs=effects)


def partial(effects: Tensor, errors: Tensor) -> None:
    """Effects of their own around a common mean, by a spread that is learned."""
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    spread = pyro.sample("spread", dist.HalfCauchy(10.0))
    with pyro.plate("schools", len(effects)):
        offset = pyro.sample("offset", dist.Normal(0.0, 1.0))
        effect = pyro.deterministic("effect", mean + spread * offset)
        pyro.sample("effects", dist.Normal(effect, errors), obs=effects)


def separate(effects: Tensor, errors: Tensor) -> None:
    """Effects that know nothing of each other."""
    with pyro.plate("schools", len(effects)):
        effect = pyro.sample("effect", dist.Normal(0.0, 20.0))
        pyro.sample("effects", dist.Normal(effect, errors), obs=effects)


models = {"pooled": pooled, "partial": partial, "separate": separate}

# %% [markdown]
# ## What is looked at
#
# Binding runs a program on its arguments and looks at what may be done with it. In `separate` the
# schools are independent, so each has an evidence of its own; in the others they share latents.

# %%
for name, model in models.items():
    print(f"{name:>9}: {lv.bind(model, effects, errors)}")

# %% [markdown]
# ## The evidence
#
# `compare_evidence` takes the arguments as they are. `Auto` tries methods in turn until one is
# reliable. The exact values of `pooled` and `separate` are normal densities; that of `partial` is
# an integral over two numbers.

# %%
comparison = lv.compare_evidence(models, (effects, errors), progress=False)
totals = {row.model: row.evidence for row in comparison}
for name, evidence in totals.items():
    print(f"{name:>9}: {evidence.total:8.3f} ± {evidence.total_standard_error:.3f} nats")

exact = {
    "pooled": dist.MultivariateNormal(
        torch.zeros(8), torch.diag(errors**2) + 100.0 * torch.ones(8, 8)
    ).log_prob(effects),
    "separate": dist.Normal(0.0, (errors**2 + 400.0).sqrt()).log_prob(effects).sum(),
}
for name, value in exact.items():
    print(f"{name:>9}: exactly {float(value):.3f}")

# %% [markdown]
# Data like these say little about the spread: the simplest model is ahead by less than a nat.
# Effects without anything in common are worse by some three.

# %% [markdown]
# ## From draws that one has already
#
# Whoever has run Pyro's NUTS need not start again: bridge sampling turns its draws into the
# evidence, by another road than `Auto`.

# %%
pyro.set_rng_seed(0)
mcmc = MCMC(NUTS(partial), num_samples=400, warmup_steps=200, num_chains=1, disable_progbar=True)
mcmc.run(effects, errors)
bridge = lv.evidence.Bridge().estimate(partial, effects, errors, draws=mcmc)
print(bridge)
gap = abs(bridge.total - totals["partial"].total)
joint_error = np.hypot(bridge.total_standard_error, totals["partial"].total_standard_error)
print(f"{gap:.3f} nats from Auto's value, {gap / joint_error:.1f} standard errors")

# %% [markdown]
# ## The posterior in ArviZ
#
# `to_arviz` names the axes by the plates, and adds predictions and the log likelihood of each
# school, from which ArviZ estimates how well schools are predicted that were left out.

# %%
idata = lv.to_arviz(mcmc)
print(az.summary(idata, var_names=["mean", "spread"], kind="stats"))
print(az.loo(idata))

# %% [markdown]
# Partial pooling draws each school towards the common mean, the more the larger its error.

# %%
draws = idata.posterior["effect"].stack(sample=("chain", "draw")).values
middle, low, high = draws.mean(1), *np.quantile(draws, [0.05, 0.95], axis=1)
order = np.argsort(effects.numpy())
rows = np.arange(len(order))

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
axes.errorbar(
    effects.numpy()[order],
    rows + 0.12,
    xerr=1.645 * errors.numpy()[order],
    fmt="o",
    color="0.6",
    label="by itself",
)
axes.errorbar(
    middle[order],
    rows - 0.12,
    xerr=[(middle - low)[order], (high - middle)[order]],
    fmt="s",
    color="C0",
    label="partially pooled",
)
axes.axvline(float(idata.posterior["mean"].mean()), color="C0", linestyle=":", label="common mean")
axes.set(yticks=rows, yticklabels=[f"school {i}" for i in order], xlabel="effect (points)")
axes.set_title("90 % intervals of the schools' effects", fontsize=10)
axes.legend(fontsize=8, loc="lower right")
plt.show()

# %% [markdown]
# ## Discrete latents
#
# Perhaps the programme works at some schools and not at others. A switch a school is summed out of
# every density, exactly, and drawn given the others where the posterior is shown.


# %%
def some_schools(effects: Tensor, errors: Tensor) -> None:
    """At each school the programme works, with a common effect, or it does nothing."""
    share = pyro.sample("share", dist.Beta(1.0, 1.0))
    mean = pyro.sample("mean", dist.Normal(0.0, 10.0))
    with pyro.plate("schools", len(effects)):
        works = pyro.sample("works", dist.Bernoulli(share))
        pyro.sample("effects", dist.Normal(mean * works, errors), obs=effects)


switched = lv.evidence.Auto().estimate(some_schools, effects, errors)
print(f"some schools: {switched.total:.3f} ± {switched.total_standard_error:.3f} nats")
idata = lv.to_arviz(some_schools, effects, errors)
works = idata.posterior["works"].mean(("chain", "draw")).values
for school in order[::-1]:
    print(f"school {school}: effect {float(effects[school]):5.1f}, works with {works[school]:.2f}")
