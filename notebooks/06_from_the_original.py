# %% [markdown]
# # From the original
#
# The model comes from LV-KAM, a Julia program of December 2024 that a file of settings controls.
# This notebook goes through such a file, section by section: what each setting is here, what is
# done differently and why, and a counterpart that runs. The names are the original's; the sizes
# are smaller, for the 8 x 8 digits.

# %%
import configparser
from functools import partial

import matplotlib.pyplot as plt
import pyro
import torch
import torch.nn.functional as F
from torch import nn

import lvkam_pyro as lv

text = """
[MIX_PRIOR]
latent_dim = 2
hidden_dim = 8
spline_function = B-spline
spline_degree = 3
grid_size = 5
grid_range = 0, 1
base_activation = none
init_η = 1
η_trainable = false
π_0 = uniform

[MOE_LIKELIHOOD]
spline_function = B-spline
spline_degree = 3
grid_size = 8
grid_range = 0, 1
grid_update_ratio = 0.05
base_activation = silu
init_η = 1
η_trainable = true
likelihood_model = l2
output_activation = sigmoid
generator_variance = 0.04
resampler = residual

[GRID_UPDATING]
update_prior_grid = false
update_llhood_grid = true
grid_update_frequency = 10
grid_update_decay = 0.999

[LANGEVIN]
use_langevin = true
iters = 250

[THERMODYNAMIC_INTEGRATION]
num_temps = 12
p = 5

[TRAINING]
batch_size = 128
importance_sample_size = 256
resampling_threshold_factor = 0.5
N_epochs = 40

[OPTIMIZER]
type = adam
learning_rate = 0.01
"""
settings = configparser.ConfigParser()
settings.optionxform = str
settings.read_string(text)

# %% [markdown]
# ## Functions
#
# | setting | here |
# | --- | --- |
# | `spline_function` | a `Basis`, one class each |
# | `spline_degree`, `grid_size`, `grid_range` | `degree`, `grid_size`, `domain`; other bases have `num_functions` for the grid |
# | `init_η`, `η_trainable` (later `init_τ`, `τ_trainable`) | `bandwidth`, `trainable_bandwidth`; B-splines have none |
# | `base_activation` | any function of a tensor, or None |
# | `ε_scale`, `μ_scale`, `σ_base` | `noise`, `mu`, `sigma` of `KANLayer`; models keep their defaults |
#
# Bandwidths are positive by construction and measured in spacings of the grid, and each basis is
# exact and smooth at the ends of its domain. Coefficients of all bases start at one size.

# %%
BASES = {
    "RBF": lv.kan.RBFBasis,
    "RSWAF": lv.kan.RSWAFBasis,
    "FFT": lv.kan.FourierBasis,
    "Morlet": lv.kan.MorletBasis,
}
ACTIVATIONS = {"none": None, "silu": F.silu, "leakyrelu": F.leaky_relu, "tanh": torch.tanh}


def make_basis(section: configparser.SectionProxy) -> lv.kan.Basis:
    """The basis of a section's functions."""
    domain = tuple(float(end) for end in section["grid_range"].split(","))
    size, kind = section.getint("grid_size"), section["spline_function"]
    if kind == "B-spline":
        degree = section.getint("spline_degree")
        return lv.BSplineBasis(grid_size=size, degree=degree, domain=domain)
    if kind == "Cheby":
        return lv.kan.ChebyshevBasis(size, domain=domain)
    return BASES[kind](
        size,
        bandwidth=section.getfloat("init_η"),
        trainable_bandwidth=section.getboolean("η_trainable"),
        domain=domain,
    )


kinds = ["B-spline", *BASES, "Cheby"]
figure, axes = plt.subplots(1, len(kinds), figsize=(9, 1.9), sharey=True, layout="constrained")
z = torch.linspace(0, 1, 300)
for one, kind in zip(axes, kinds, strict=True):
    settings["MOE_LIKELIHOOD"]["spline_function"] = kind
    with torch.no_grad():
        one.plot(z, make_basis(settings["MOE_LIKELIHOOD"])(z), linewidth=1)
    one.set(title=kind, xlabel="z")
axes[0].set_ylabel("basis functions")
settings["MOE_LIKELIHOOD"]["spline_function"] = "B-spline"
plt.show()

# %% [markdown]
# ## Prior
#
# `hidden_dim` latents $z_q$, each a mixture of `latent_dim` components $p$. `π_0` is the
# reference: `uniform`, `normal` and `lognormal` are distributions of Pyro, given as `reference=`.
#
# | original | here |
# | --- | --- |
# | draws a component with probability $\alpha_p$, scores $\sum_p \alpha_p e^{f_{qp}} \pi_0$ | each component is normalised, so that both are one distribution |
# | one vector $\alpha$ for all latents | one for each latent |
# | inverse transform on one global quadrature rule, or rejection under the maximum at the knots | inversion on panels between the knots, exact to 1e-6; rejection under a true bound |
# | prior moved to the samples' range when its grid is updated | domain stays; `move_prior=True` moves interior knots |
# | the univariate prior of the theorem, $u_q = \sum_p z_{qp}$ | `ProductPrior` |
#
# Inversion and rejection are two ways to draw from one distribution, which is quick to check: the
# distribution function at draws is uniform.

# %%
prior_section = settings["MIX_PRIOR"]
make_prior = partial(
    lv.MixturePrior,
    prior_section.getint("hidden_dim"),
    num_components=prior_section.getint("latent_dim"),
    basis=make_basis(prior_section),
    base_activation=ACTIVATIONS[prior_section["base_activation"]],
)
torch.manual_seed(0)
by_inversion = make_prior()
by_rejection = make_prior(sampler=lv.distributions.RejectionSampler())
by_rejection.load_state_dict(by_inversion.state_dict())
for name, prior in (("inversion", by_inversion), ("rejection", by_rejection)):
    with torch.no_grad():
        u = prior.densities().cdf(prior().sample((20_000,))).sort(0).values
    steps = torch.arange(1, len(u) + 1)[:, None] / len(u)
    distance = torch.maximum(steps - u, u - steps + 1 / len(u)).max()
    print(f"{name}: largest Kolmogorov-Smirnov distance of the 8 latents {distance:.4f}")
print("critical value of one at 5 %:", round(1.358 / 20_000**0.5, 4))
rate = by_rejection.sampler.acceptance_rate(by_rejection.densities())
print("acceptance of the rejection sampler:", rate)

# %% [markdown]
# ## Generator and likelihood
#
# | setting | here |
# | --- | --- |
# | `[MOE_LIKELIHOOD]`: one function a latent, gates per output | `MixtureOfExperts` |
# | `[KAN_LIKELIHOOD]`: `expert_widths` | `KANGenerator(num_latents, num_outputs, hidden=widths)`; with no hidden widths it is the sum of functions of one latent each |
# | `use_cnn_lkhood` | any torch module, as in the program `darcy_flow` |
# | `output_activation` | part of the generator |
# | `likelihood_model = l2`, `generator_variance` | `NormalLikelihood`: a density with its constant, its scales learned for each output |
# | `bernoulli`; the model of text | `BernoulliLikelihood`, `CategoricalLikelihood` |
# | `generator_noise_variance`: a fresh noise draw inside the likelihood | none: $\log p(x \mid z)$ is a function of $x$ and $z$ |

# %%
likelihood_section = settings["MOE_LIKELIHOOD"]


class Gated(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.experts = lv.MixtureOfExperts(
            prior_section.getint("hidden_dim"),
            64,
            basis=make_basis(likelihood_section),
            base_activation=ACTIVATIONS[likelihood_section["base_activation"]],
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.experts(z).sigmoid()


def build(generator: nn.Module) -> lv.LVKAM:
    scale = likelihood_section.getfloat("generator_variance") ** 0.5
    return lv.LVKAM(make_prior(), generator, lv.NormalLikelihood(64, scale=scale))


torch.manual_seed(0)
gated = build(Gated())
additive = build(lv.KANGenerator(8, 64, basis=make_basis(likelihood_section)))
for name, model in (("gated", gated), ("additive", additive)):
    print(f"{name}: {sum(p.numel() for p in model.parameters())} parameters")

# %% [markdown]
# ## Posterior and learning
#
# | setting | here |
# | --- | --- |
# | `importance_sample_size` draws of the prior, weighed | `PriorGuide` with `EmpiricalBayes(num_particles=...)`; all data share the draws, the weights are those of each datum |
# | `resampler`, `resampling_threshold_factor` | `ImportanceGuide(resampler=..., threshold=...)`, for whoever wants equally weighted draws; training needs none, since weights enter the gradient once |
# | prior expectation subtracted from the loss ("contrastive") | contained in the gradient of the normalised log prior |
# | gradient through sampling (`learn_through_sampling`) | none: Fisher's identity |
# | `grid_update_frequency` in updates, `grid_update_decay`, `grid_update_ratio` | `GridUpdates(schedule=GridSchedule(every=epochs, decay=...), ratio=...)`: the best projection on the new grid, whose error is reported |
# | `type`, `learning_rate` | Adam with a cosine in `Recipe`; any torch optimiser, L-BFGS included, in a loop of one's own |

# %%
training = settings["TRAINING"]
grid_updates = lv.training.GridUpdates(
    schedule=lv.kan.GridSchedule(
        every=settings["GRID_UPDATING"].getint("grid_update_frequency"),
        decay=settings["GRID_UPDATING"].getfloat("grid_update_decay"),
    ),
    ratio=likelihood_section.getfloat("grid_update_ratio"),
    move_prior=settings["GRID_UPDATING"].getboolean("update_prior_grid"),
)
recipe = lv.Recipe(
    name="original",
    build_guide=lambda model, x: lv.PriorGuide(model),
    objective=lv.EmpiricalBayes(training.getint("importance_sample_size")),
    num_epochs=training.getint("N_epochs"),
    batch_size=training.getint("batch_size"),
    learning_rate=settings["OPTIMIZER"].getfloat("learning_rate"),
    grid_updates=grid_updates,
)
x_train, x_test = lv.programs.load_program("model", "digits").load_data(seed=0)
fits = {
    "gated": lv.fit(gated, x_train, recipe, progress=False),
    "additive": lv.fit(additive, x_train, recipe, progress=False),
}
for name, fit in fits.items():
    errors = {row["epoch"]: row["grid_error"] for row in fit.metrics if row["grid_error"] > 0}
    changes = ", ".join(f"{error:.4f} after epoch {epoch}" for epoch, error in errors.items())
    print(f"{name}: moving the grid changed the functions by the relative error {changes}")

# %% [markdown]
# What 256 weighed draws of the prior leave of the posterior of 20 held-out digits: the effective
# number of draws, and Pareto's k of the weights, which should be below 0.7.

# %%
x = x_test[:20]
resamplers = {
    "multinomial": lv.statistics.resample_multinomial,
    "residual": lv.statistics.resample_residual,
    "stratified": lv.statistics.resample_stratified,
    "systematic": lv.statistics.resample_systematic,
}
for name, fit in fits.items():
    guide = lv.guides.ImportanceGuide(
        fit.model,
        lv.PriorGuide(fit.model),
        num_particles=training.getint("importance_sample_size"),
        resampler=resamplers[likelihood_section["resampler"]],
        threshold=training.getfloat("resampling_threshold_factor"),
        smooth=False,
    )
    particles = lv.draw_particles(fit.model, guide.proposal, x, num_particles=guide.num_particles)
    found = lv.statistics.weight_diagnostics(particles.log_weights.detach())
    print(
        f"{name}: median ESS {found['ess'].median():.1f}, median k {found['pareto_k'].median():.2f}"
    )

# %% [markdown]
# The more a model can say, the less of its prior is posterior: for the additive one a draw or two
# have all the weight, and the weights no usable variance. That is why `AmortizedGuide`,
# `LookaheadGuide` and `GridGibbsGuide` are here, and Langevin chains.
#
# ## Langevin chains, replica exchange, thermodynamic integration
#
# | setting | here |
# | --- | --- |
# | `use_langevin`, unadjusted, `iters` | `Ladder(kernel=ULA(), num_warmup=..., num_samples=...)`; the verdict calls its bias by name |
# | adjusted, `initial_step_size`, `step_size_bounds` | `MALA()` (the default) or `HMC()`: steps are adapted in the warm-up for each temperature and datum |
# | replica exchange | always on: neighbours exchange per datum, even and odd pairs in turn |
# | `num_temps`, `p`: temperatures $(k / T)^p$ | `num_temperatures`, `schedule=PowerSchedule(exponent=p)`; also `ConditionalESSSchedule()`, `EqualLengthSchedule()`, or any function of $T$ |
# | Riemann sum over temperatures | `TrapezoidRule()`, `CorrectedTrapezoid()`, `PCHIPRule()` or `HermiteRule()`, with its error |
# | steppingstone as a sum of means | `SteppingStone`, a sum of logs of means |
# | thermodynamic integration as the training loss | none: by Fisher's identity the gradient of the whole integral is the posterior mean at temperature one, so the ladder estimates and its last rung trains |

# %%
thermodynamic = settings["THERMODYNAMIC_INTEGRATION"]
make_ladder = partial(
    lv.ladder.Ladder,
    num_temperatures=thermodynamic.getint("num_temps"),
    schedule=lv.ladder.PowerSchedule(exponent=thermodynamic.getfloat("p")),
    num_chains=8,
    num_warmup=settings["LANGEVIN"].getint("iters"),
    num_samples=100,
)
original = lv.evidence.ThermodynamicIntegration(
    make_ladder(kernel=lv.ladder.ULA()), rule=lv.evidence.TrapezoidRule()
)
ours = [
    lv.evidence.ThermodynamicIntegration(make_ladder()),
    lv.evidence.SteppingStone(make_ladder()),
]
print("trapezoids on unadjusted chains:", original.estimate(gated, x))
models = {name: fit.model for name, fit in fits.items()}
comparison = lv.compare_evidence(models, x, ours, progress=False)
print(comparison)
evidence = comparison["gated", "Thermodynamic"]
print("swap rates between neighbours, mean over data:", evidence.diagnostics["swap_rate"].mean(1))

# %%
axes = lv.plots.thermodynamic_curve(evidence)
plt.show()

# %% [markdown]
# ## What it draws
#
# The gated generator mixes 8 functions for all pixels; the additive one has 8 for each pixel.
# Which of them these data prefer is a number:

# %%
print(comparison.bayes_factors(reference="gated"))

# %%
torch.manual_seed(1)
with torch.no_grad():
    draws = pyro.poutine.uncondition(fits["additive"].model)(x_test[:36])
axes = lv.plots.samples(x_test, draws, image_shape=(8, 8))
plt.show()

# %% [markdown]
# ## The rest of the file
#
# | setting | here |
# | --- | --- |
# | `dataset`, `N_train`, `N_test` | `load_data` of a model program, `lvkam fit NAME --data FILE` |
# | `use_gpu` | `model.to(device)`, data alike; `lvkam fit --device` |
# | `[MIXED_PRECISION]` | dtypes of torch; tables of densities are in float64 inside |
# | seeds per part | one `seed` of `fit`, which a checkpoint resumes bit for bit |
# | generated samples in a file | `lvkam sample`, `plots.samples` |
