# %% [markdown]
# # Posterior diagnostics
#
# A posterior that is drawn from can be wrong in two ways: the draws may miss it, and the model may
# miss the data. This notebook tells the two apart, for a fitted LV-KAM whose posteriors have
# branches: first by weights, chains and simulation, then by predictions, with ArviZ wherever it
# has the statistic.

# %%
import warnings

import arviz as az
import matplotlib.pyplot as plt
import torch

import lvkam_pyro as lv

moons = lv.programs.load_program("model", "two_moons")
x_train, x_test = moons.load_data(seed=0)
recipe = lv.load_recipe("amortized", num_epochs=60, hidden=(64, 64))
torch.manual_seed(0)
fit = lv.fit(moons.build({}), x_train, recipe, progress=False)
model, guide, x = fit.model, fit.guide, x_test[:100]
print(f"{len(x)} held-out points, two latents each")

# %% [markdown]
# ## Weights
#
# The network proposes latents of a point, and weights correct the proposal. Pareto's k is the
# shape of the weights' tail: above 0.7 their mean has no usable variance, and neither has anything
# that is computed with them.

# %%
with torch.no_grad():
    torch.manual_seed(0)
    particles = lv.draw_particles(model, guide, x, num_particles=4096)
weights = lv.checks.check_weights(particles, source="the network")
print(weights)
axes = lv.plots.importance_weights(weights)
plt.show()

# %% [markdown]
# `to_arviz` resamples the weighted particles to draws of equal weight, chain by chain, as ArviZ
# expects them, and warns where that cannot help:

# %%
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    idata = lv.to_arviz(fit, x[:20])
for warning in caught:
    print(f"{warning.category.__name__}: {warning.message}")
print(idata)

# %% [markdown]
# ## Chains
#
# A ladder of power posteriors needs no guide. Its chains are independent of each other, so that
# R-hat and effective sample sizes mean what they always mean, at each temperature.

# %%
plan = lv.ladder.Ladder(
    num_temperatures=12, num_chains=8, num_warmup=200, num_samples=150, keep_path=True
)
samples = plan.sample(model, x[:20])
convergence = lv.checks.check_convergence(samples)
print(convergence)
axes = lv.plots.convergence(samples)
plt.show()

# %% [markdown]
# From the prior (below) to the posterior (above) of one point:

# %%
axes = lv.plots.power_posteriors(samples, datum=0)
plt.show()

# %% [markdown]
# ## ArviZ
#
# The draws at temperature one are the posterior. Everything of ArviZ applies to them.

# %%
idata = lv.to_arviz(model, x[:20], ladder=samples)
print(az.summary(idata, var_names=["z"], coords={"data": [0, 1, 2]}, kind="all").to_string())

# %%
rhat, ess = az.rhat(idata, var_names=["z"])["z"], az.ess(idata, var_names=["z"])["z"]
print(
    f"of 20 points and 2 latents: largest R-hat {float(rhat.max()):.3f}, least ESS {float(ess.min()):.0f}"
)

# %%
axes = az.plot_forest(idata, var_names=["z"], coords={"data": [0, 1, 2, 3]}, combined=True)
plt.show()

# %% [markdown]
# The group `log_likelihood` holds the marginal $\log p(x_n)$, with the latents integrated out:
# that is what `az.loo` and `az.compare` must see. Two models, each point's evidence by look-ahead:

# %%
torch.manual_seed(0)
small = lv.fit(moons.build({"num_components": 1, "grid_size": 5}), x_train, recipe, progress=False)
models = {"2 components": model, "1, coarse grid": small.model}
comparison = lv.compare_evidence(models, x, [lv.evidence.Lookahead()], progress=False)
print(comparison)
print(az.loo(lv.to_arviz(comparison)["2 components"]))
print(az.compare(lv.to_arviz(comparison)).to_string())

# %% [markdown]
# ## Simulation
#
# Data that the model itself makes come with their true latents, which are draws of the exact
# posterior. So the rank of the truth among the draws is uniform, if these are of the posterior too
# (simulation-based calibration). The network alone fails, most of all in the log-likelihood of its
# draws; weights mend it.

# %%
alone = lv.checks.sbc(model, x, posterior=guide, num_simulations=500)
sampler = lv.checks.ImportanceSampler(guide)
weighted = lv.checks.sbc(model, x, posterior=sampler, num_simulations=500)
print(alone, weighted, sep="\n\n")
axes = lv.plots.ranks(alone)
plt.show()
axes = lv.plots.ranks(weighted)
plt.show()

# %% [markdown]
# ## Predictions
#
# The draws can be trusted now; can the model? Each coordinate of a point is left out in turn and
# predicted from the other (LOO-PIT): the PIT values, the shares of the predictions below it, should
# be uniform. And data redrawn from the points' own latents should look like the points.
#
# With two coordinates a point, a posterior without one of them is far from that with both, and the
# weights that lead from one to the other have heavy tails: the check says for how many
# predictions. Its finding is then a question, not an answer. The second check has no such weights:
# neighbours among the data are closer than among what the model redraws, which is noise that is
# too wide.

# %%
posterior = lv.checks.ImportanceSampler(lv.guides.LookaheadGuide(model))
left_out = lv.checks.loo_pit(model, x, posterior=posterior)
print(left_out)
axes = lv.plots.loo_pit(left_out)
plt.show()

# %%
check = lv.checks.posterior_predictive_check(model, x, posterior=posterior)
print(check)
axes = lv.plots.predictive_check(check)
plt.show()

# %% [markdown]
# ## All at once
#
# `diagnose` runs these checks and more, the most urgent finding first. At the end of a cell its
# result shows itself as a page with pictures; `to_html` writes that page.

# %%
diagnosis = lv.diagnose(model, x[:40], ladder=plan, num_simulations=100)
print(diagnosis)
