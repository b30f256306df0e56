"""The Latent Variable Kolmogorov-Arnold Model as a probabilistic-programming library on Pyro.

The public names load on first use (PEP 562), so that ``import lvkam_pyro`` costs what
``import pyro`` costs although the diagnostics stand on ArviZ and matplotlib.
"""

import importlib

_HOME = {
    "AmortizedGuide": "guides.amortized",
    "BSplineBasis": "kan.bspline",
    "ELBOEvidence": "evidence.elbo",
    "EmpiricalBayes": "training.objective",
    "EnergyDistribution": "distributions.energy",
    "EnergyMixture": "distributions.mixture",
    "Evidence": "evidence.evidence",
    "ImportanceEvidence": "evidence.importance",
    "KAN": "kan.network",
    "KANGenerator": "modules.generator",
    "KANLayer": "kan.layer",
    "LVKAM": "lvkam",
    "LogSpline": "distributions.logspline",
    "LogSplineMixture": "distributions.logspline_mixture",
    "MixturePrior": "modules.prior",
    "NormalLikelihood": "modules.likelihood",
    "PCAStart": "training.pca",
    "Particles": "guides.particles",
    "PowerPosterior": "guides.power_posterior",
    "PriorGuide": "guides.prior",
    "ProductPrior": "modules.prior",
    "Recipe": "training.recipe",
    "SteppingStone": "evidence.steppingstone",
    "ThermodynamicIntegration": "evidence.thermodynamic",
    "compare_evidence": "evidence.comparison",
    "draw_particles": "guides.particles",
    "fit": "training.loop",
    "to_arviz": "diagnostics.arviz",
}

__version__ = "0.1.0"
__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(
            f"module 'lvkam_pyro' has no attribute '{name}'. Public names: {', '.join(__all__)}."
        )
    value = getattr(importlib.import_module(f"lvkam_pyro.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
