"""The public names with their types, for the tools that do not run ``__getattr__``."""

from lvkam_pyro.diagnostics.arviz import to_arviz
from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.logspline_mixture import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.evidence.comparison import compare_evidence
from lvkam_pyro.evidence.elbo import ELBOEvidence
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import ImportanceEvidence
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.guides.particles import Particles, draw_particles
from lvkam_pyro.guides.power_posterior import PowerPosterior
from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.generator import KANGenerator
from lvkam_pyro.modules.likelihood import NormalLikelihood
from lvkam_pyro.modules.prior import MixturePrior, ProductPrior
from lvkam_pyro.training.loop import fit
from lvkam_pyro.training.objective import EmpiricalBayes
from lvkam_pyro.training.pca import PCAStart
from lvkam_pyro.training.recipe import Recipe

__version__: str
__all__ = [
    "KAN",
    "LVKAM",
    "AmortizedGuide",
    "BSplineBasis",
    "ELBOEvidence",
    "EmpiricalBayes",
    "EnergyDistribution",
    "EnergyMixture",
    "Evidence",
    "ImportanceEvidence",
    "KANGenerator",
    "KANLayer",
    "LogSpline",
    "LogSplineMixture",
    "MixturePrior",
    "NormalLikelihood",
    "PCAStart",
    "Particles",
    "PowerPosterior",
    "PriorGuide",
    "ProductPrior",
    "Recipe",
    "SteppingStone",
    "ThermodynamicIntegration",
    "compare_evidence",
    "draw_particles",
    "fit",
    "to_arviz",
]
