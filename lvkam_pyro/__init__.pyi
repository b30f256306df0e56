"""The public names, which load on first use."""

from . import (
    additive,
    arviz,
    checks,
    comparison,
    distributions,
    evidence,
    guides,
    kan,
    ladder,
    likelihoods,
    modules,
    plots,
    problems,
    programs,
    report,
    statistics,
    tracing,
    training,
)
from .arviz.convert import to_arviz
from .comparison.compare import compare_evidence
from .distributions.energy import EnergyDistribution
from .distributions.logspline import LogSpline, LogSplineMixture
from .distributions.mixture import EnergyMixture
from .guides.amortized import AmortizedGuide
from .kan.bases.bspline import BSplineBasis
from .kan.layer import KANLayer
from .kan.network import KAN
from .likelihoods.bernoulli import BernoulliLikelihood
from .likelihoods.categorical import CategoricalLikelihood
from .likelihoods.joint import JointLikelihood
from .likelihoods.normal import NormalLikelihood
from .likelihoods.quantized import QuantizedLikelihood
from .lvkam import LVKAM
from .modules.generators import KANGenerator, MixtureOfExperts
from .modules.priors import MixturePrior, ProductPrior
from .programs import load_recipe
from .report.model_report import diagnose
from .tracing.bind import bind, draw_particles
from .tracing.particles import Particles
from .tracing.prior_guide import PriorGuide
from .training.loop import fit
from .training.objective import EmpiricalBayes
from .training.recipe import Recipe

__version__: str

__all__ = [
    "KAN",
    "LVKAM",
    "AmortizedGuide",
    "BSplineBasis",
    "BernoulliLikelihood",
    "CategoricalLikelihood",
    "EmpiricalBayes",
    "EnergyDistribution",
    "EnergyMixture",
    "JointLikelihood",
    "KANGenerator",
    "KANLayer",
    "LogSpline",
    "LogSplineMixture",
    "MixtureOfExperts",
    "MixturePrior",
    "NormalLikelihood",
    "Particles",
    "PriorGuide",
    "ProductPrior",
    "QuantizedLikelihood",
    "Recipe",
    "additive",
    "arviz",
    "bind",
    "checks",
    "compare_evidence",
    "comparison",
    "diagnose",
    "distributions",
    "draw_particles",
    "evidence",
    "fit",
    "guides",
    "kan",
    "ladder",
    "likelihoods",
    "load_recipe",
    "modules",
    "plots",
    "problems",
    "programs",
    "report",
    "statistics",
    "to_arviz",
    "tracing",
    "training",
]
