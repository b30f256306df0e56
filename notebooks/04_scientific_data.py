# %% [markdown]
# # Scientific data: what the latents mean
#
# A probe in a fermenter measures an infrared spectrum every 1.25 minutes, for 34 hours, while
# yeast turns sugar into ethanol. Once an hour a sample is taken and its concentrations are
# measured by chromatography. An LV-KAM with three latents is fitted to the spectra alone. Do its
# latents know of the concentrations, and can its functions be written down?
#
# The data come with the package chemotools (Cabaneros Lopez et al. 2020,
# https://doi.org/10.1002/bit.27586).

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

import lvkam_pyro as lv


def read(name: str) -> pd.DataFrame:
    path = f"datasets/data/{name}.csv"
    return pd.read_csv(
        lv.programs.find_package_file("chemotools", path, requirement="chemotools>=0.5")
    )


table, samples = read("fermentation_spectra"), read("fermentation_hplc")
wavenumbers = table.columns.astype(float).to_numpy()
chosen = np.flatnonzero((wavenumbers >= 950) & (wavenumbers <= 1550))[::4]
wavenumbers = wavenumbers[chosen]
spectra = torch.tensor(table.to_numpy()[:, chosen], dtype=torch.float32)
hours = np.arange(len(spectra)) * 1.25 / 60
unit = spectra.std()
x = (spectra - spectra.mean(0)) / unit
is_test = torch.arange(len(x)) % 5 == 2
x_train, x_test = x[~is_test], x[is_test]
print(f"{len(x)} spectra at {len(wavenumbers)} wavenumbers, {len(x_test)} of them held out")
print(f"{len(samples)} samples of {', '.join(samples.columns[1:])}, in g/l")

figure, axes = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained")
colours = plt.cm.viridis(hours[::100] / hours[-1])
for spectrum, colour in zip(spectra[::100], colours, strict=True):
    axes[0].plot(wavenumbers, spectrum, color=colour, linewidth=1)
axes[0].set(xlabel="wavenumber (1/cm)", ylabel="signal (a.u.)", title="dark: early, light: late")
for name in ("glucose", "xylose", "ethanol"):
    axes[1].plot(samples["time"], samples[name], "o-", markersize=3, label=name)
axes[1].set(xlabel="time (h)", ylabel="concentration (g/l)")
axes[1].legend()
plt.show()

# %% [markdown]
# ## Fit
#
# The model program `spectra` with three latents, by the recipe `lookahead`: nearly exact posterior
# draws train it, there is no encoder. Spectra are in units of their common standard deviation,
# less the mean spectrum.

# %%
torch.manual_seed(0)
spectra_program = lv.programs.load_program("model", "spectra")
model = spectra_program.build({"num_latents": 3, "num_outputs": len(wavenumbers)})
recipe = lv.load_recipe("lookahead", num_epochs=40)
fit = lv.fit(model, x_train, recipe, progress=False)
noise = model.likelihood.scale.detach() * unit
print(f"noise: {noise.median():.1e} in the median over wavenumbers, in units of the signal")
print(lv.evidence.Lookahead(2048).estimate(model, x_test[:60]))

# %% [markdown]
# A spectrum has 112 values for three latents, so the posteriors are narrow, and the verdict says
# where islands of particles differ. For posterior means that does no harm: their errors are a
# hundredth of the latents' range.

# %%
torch.manual_seed(0)
with torch.no_grad():
    guide = lv.guides.LookaheadGuide(model, num_particles=64)
    parts = [
        lv.draw_particles(model, guide, part, num_particles=64).resample(32)["z"]
        for part in x.split(400)
    ]
draws = torch.cat(parts, 1)
means, widths = draws.mean(0).numpy(), draws.std(0).mean(0)
print("standard deviation within a spectrum's posterior, mean over spectra:", widths)
axes = lv.plots.prior_densities(model.prior, posterior=draws[:4])
plt.show()

# %% [markdown]
# ## The latents in time, and the concentrations
#
# Of each sample, the spectrum of the same minute. The table has Spearman's rank correlation
# between posterior means and concentrations (34 samples; by chance, it is beyond 0.34 once in
# twenty).

# %%
nearest = np.abs(hours[:, None] - samples["time"].to_numpy()).argmin(0)
names = [name for name in samples.columns if name != "time"]
correlations = pd.DataFrame(
    {
        f"latent {q}": [spearmanr(samples[name], means[nearest, q]).statistic for name in names]
        for q in range(3)
    },
    index=names,
)
print(correlations.round(2))

# %%
figure, axes = plt.subplots(1, 4, figsize=(11, 2.6), layout="constrained")
for q, one in enumerate(axes[:3]):
    one.plot(hours, means[:, q], ".", markersize=1.5)
    one.set(xlabel="time (h)", title=f"latent {q}", ylim=(0, 1))
axes[3].scatter(samples["glucose"], means[nearest, 0], s=14, label="glucose")
axes[3].scatter(samples["ethanol"], means[nearest, 0], s=14, label="ethanol")
axes[0].set_ylabel("posterior mean")
axes[3].set(xlabel="concentration (g/l)", title="latent 0", ylim=(0, 1.02))
axes[3].legend(loc="lower left", bbox_to_anchor=(0.2, 0.0))
plt.show()

# %% [markdown]
# Latent 0 follows the fermentation: its density has two peaks, the hours before the glucose is
# used up and those after. Latent 2 rises when the yeast goes over to xylose. Latent 1 has no
# chemistry in this table.
#
# ## What a latent does to a spectrum
#
# The expected spectrum while one latent moves along its prior's quantiles, the others at their
# medians:

# %%
axes = lv.plots.traversals(model, latents=[0, 1, 2])
for one in axes:
    ticks = np.arange(0, len(wavenumbers), 28)
    one.set_xticks(ticks + 1, [f"{wavenumbers[tick]:.0f}" for tick in ticks])
    one.set_xlabel("wavenumber (1/cm)")
plt.show()

# %% [markdown]
# Where does a latent act? On the left is the change of the spectrum as each latent goes from the
# 10 % to the 90 % quantile of its prior. On the right, measured elsewhere, the mark of glucose:
# the slope of the signal over the glucose content of 21 samples where it is known. The recorded
# signal falls where glucose absorbs, so less glucose raises it.

# %%
known, glucose = read("train_spectra").to_numpy()[:, chosen], read("train_hplc")["glucose"]
slope = np.polyfit(glucose, known, 1)[0]
with torch.no_grad():
    quantiles = model.prior.densities().icdf(torch.tensor([[0.1], [0.9]]))
    changes = model.generator.layers[0].unsummed(quantiles).diff(dim=0)[0] * unit
figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), layout="constrained")
for q, change in enumerate(changes):
    axes[0].plot(wavenumbers, change, label=f"latent {q}, 10 % to 90 %")
axes[0].set(xlabel="wavenumber (1/cm)", ylabel="change of signal (a.u.)")
axes[0].legend()
axes[1].plot(wavenumbers, -30 * slope, color="k", label="30 g/l less glucose")
axes[1].set(xlabel="wavenumber (1/cm)", ylabel="change of signal (a.u.)")
axes[1].legend()
plt.show()
for q, change in enumerate(changes):
    print(
        f"latent {q}: correlation with the mark of glucose {np.corrcoef(change, slope)[0, 1]:.2f}"
    )

# %% [markdown]
# ## Formulas
#
# Every function has one variable, so each can be replaced by a formula: the best of 26 forms
# $c\,g(a z + b) + d$, ranked by fit and complexity. First the energies of the prior: one with two
# peaks is no single form, and its R² says so.

# %%
for formula in model.prior.to_symbolic():
    print(f"f_{formula.latent}(z) = {formula}    R² = {formula.r_squared:.3f}")

# %% [markdown]
# Then what latent 0 adds to the signal at three wavenumbers:

# %%
z = torch.linspace(*quantiles[:, 0].tolist(), 200)
layer = model.generator.layers[0]
with torch.no_grad():
    functions = layer.unsummed(z[:, None].expand(-1, 3))[:, 0] * unit
columns = [int(abs(wavenumbers - chosen).argmin()) for chosen in (1000, 1150, 1500)]
figure, axes = plt.subplots(1, 3, figsize=(9, 2.6), layout="constrained")
for one, column in zip(axes, columns, strict=True):
    best = lv.kan.fit_symbolic(functions[:, column], z)[0]
    one.plot(z, functions[:, column], linewidth=4, alpha=0.4, label="learned")
    one.plot(z, best(z), "k--", linewidth=1, label="formula")
    one.set(title=f"{wavenumbers[column]:.0f} / cm", xlabel="latent 0")
    print(f"{wavenumbers[column]:.0f} / cm: {best}    R² = {best.r_squared:.4f}")
axes[0].set_ylabel("signal it adds (a.u.)")
axes[0].legend()
plt.show()
