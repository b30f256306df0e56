"""The public names with their types, for the tools that do not run ``__getattr__``."""

from lvkam_pyro.diagnostics.arviz import to_arviz
from lvkam_pyro.diagnostics.check import CheckResult
from lvkam_pyro.diagnostics.convergence_check import ConvergenceCheck, check_convergence
from lvkam_pyro.diagnostics.conversion import arviz_groups
from lvkam_pyro.diagnostics.diagnose import diagnose
from lvkam_pyro.diagnostics.diagnosis import Diagnosis
from lvkam_pyro.diagnostics.discrepancies import Discrepancy
from lvkam_pyro.diagnostics.evidence_check import EvidenceCheck
from lvkam_pyro.diagnostics.finding import Finding, Severity
from lvkam_pyro.diagnostics.loo_pit import LOOPIT, loo_pit
from lvkam_pyro.diagnostics.mismatch import PriorPosteriorMismatch, prior_posterior_mismatch
from lvkam_pyro.diagnostics.predictive import (
    PosteriorPredictiveCheck,
    PredictiveCheck,
    PriorPredictiveCheck,
    posterior_predictive_check,
    prior_predictive_check,
)
from lvkam_pyro.diagnostics.recorded_nuts import RecordedNUTS
from lvkam_pyro.diagnostics.resampled import UnreliablePosteriorWarning
from lvkam_pyro.diagnostics.samplers import (
    GuideSampler,
    ImportanceSampler,
    LadderSampler,
    PosteriorDraws,
    PosteriorSampler,
    draw_posterior,
)
from lvkam_pyro.diagnostics.sbc import SBC, sbc
from lvkam_pyro.diagnostics.uniformity import Uniformity, uniformity
from lvkam_pyro.diagnostics.weights_check import WeightsCheck, check_weights
from lvkam_pyro.distributions.energy import EnergyDistribution
from lvkam_pyro.distributions.envelope import ConstantEnvelope, CurvatureBound, LogLinearEnvelope
from lvkam_pyro.distributions.logspline import LogSpline
from lvkam_pyro.distributions.logspline_mixture import LogSplineMixture
from lvkam_pyro.distributions.mixture import EnergyMixture
from lvkam_pyro.distributions.nodes import QuadratureNodes
from lvkam_pyro.distributions.quantized_logistic import QuantizedLogistic
from lvkam_pyro.distributions.rejection import RejectionSampler
from lvkam_pyro.distributions.resampling import (
    resample_multinomial,
    resample_residual,
    resample_stratified,
    resample_systematic,
)
from lvkam_pyro.evidence.annealed import AnnealedImportance
from lvkam_pyro.evidence.auto import AutoEvidence
from lvkam_pyro.evidence.bayes_factors import BayesFactor, BayesFactors
from lvkam_pyro.evidence.cascade import CascadeEvidence
from lvkam_pyro.evidence.compare import compare_evidence
from lvkam_pyro.evidence.comparison import EvidenceComparison
from lvkam_pyro.evidence.elbo import ELBOEvidence
from lvkam_pyro.evidence.estimator import EvidenceEstimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.grid_gibbs import GridGibbsEvidence
from lvkam_pyro.evidence.importance import ImportanceEvidence
from lvkam_pyro.evidence.lookahead import LookaheadEvidence
from lvkam_pyro.evidence.mixture import MixtureImportance
from lvkam_pyro.evidence.multistate import MultistateBAR, ThermodynamicCurve
from lvkam_pyro.evidence.quadrature import QuadratureEvidence
from lvkam_pyro.evidence.quasi_monte_carlo import QuasiMonteCarloEvidence
from lvkam_pyro.evidence.rules import PCHIP, Corrected, Hermite, Trapezoid
from lvkam_pyro.evidence.sandwich import Sandwich, sandwich
from lvkam_pyro.evidence.smc import TemperedSMC
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.evidence.verdict import Verdict
from lvkam_pyro.guides.amortized import AmortizedGuide
from lvkam_pyro.guides.grid_gibbs import GridGibbs
from lvkam_pyro.guides.grid_gibbs_guide import GridGibbsGuide
from lvkam_pyro.guides.hmc import HMC
from lvkam_pyro.guides.importance import ImportanceGuide
from lvkam_pyro.guides.ladder_guide import LadderGuide
from lvkam_pyro.guides.lookahead import LookaheadGuide
from lvkam_pyro.guides.mala import MALA, ULA
from lvkam_pyro.guides.mean_field import GridMeanFieldGuide
from lvkam_pyro.guides.memory import ChainMemory
from lvkam_pyro.guides.mixture import MixtureGuide
from lvkam_pyro.guides.nuts import NUTSGuide
from lvkam_pyro.guides.particles import Particles, draw_particles
from lvkam_pyro.guides.pilot import Adaptive, EqualLength
from lvkam_pyro.guides.power_posterior import PowerPosterior, PowerSamples
from lvkam_pyro.guides.prior import PriorGuide
from lvkam_pyro.guides.rejection import RejectionDraws, RejectionGuide
from lvkam_pyro.guides.schedule import FixedSchedule, PilotSchedule, PowerSchedule
from lvkam_pyro.kan.basis import Basis
from lvkam_pyro.kan.bspline import BSplineBasis
from lvkam_pyro.kan.chebyshev import ChebyshevBasis
from lvkam_pyro.kan.extrapolation import (
    AnalyticExtrapolation,
    ConstantExtrapolation,
    LinearExtrapolation,
)
from lvkam_pyro.kan.fourier import FourierBasis
from lvkam_pyro.kan.grid import GridUpdate, refine_grid, update_grid
from lvkam_pyro.kan.grid_schedule import GridSchedule
from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.network import KAN
from lvkam_pyro.kan.nonuniform import NonUniformBSplineBasis
from lvkam_pyro.kan.pruning import Pruning, importance, prune
from lvkam_pyro.kan.rbf import RBFBasis
from lvkam_pyro.kan.regularization import edge_entropy, edge_l1, roughness
from lvkam_pyro.kan.rswaf import RSWAFBasis
from lvkam_pyro.kan.symbolic.fit import SymbolicFit, fit_symbolic
from lvkam_pyro.kan.symbolic.form import SymbolicForm
from lvkam_pyro.kan.symbolic.formula import Formula
from lvkam_pyro.kan.symbolic.layer import SymbolicLayer
from lvkam_pyro.kan.symbolic.layer_fit import LayerFit, fit_symbolic_layer
from lvkam_pyro.kan.symbolic.network import auto_symbolic, to_sympy
from lvkam_pyro.kan.wavelet import MorletBasis
from lvkam_pyro.lvkam import LVKAM
from lvkam_pyro.modules.density_estimation import DensityFit, fit_density
from lvkam_pyro.modules.discrete_likelihoods import BernoulliLikelihood, CategoricalLikelihood
from lvkam_pyro.modules.formulas import SymbolicEnergy
from lvkam_pyro.modules.gating import MixtureOfExperts
from lvkam_pyro.modules.generator import KANGenerator
from lvkam_pyro.modules.joint_likelihood import JointLikelihood
from lvkam_pyro.modules.knots import KnotUpdate
from lvkam_pyro.modules.likelihood import NormalLikelihood
from lvkam_pyro.modules.mixture_prior import MixturePrior
from lvkam_pyro.modules.product_prior import ProductPrior
from lvkam_pyro.modules.quantized_likelihood import QuantizedLikelihood
from lvkam_pyro.modules.reference import LogNormalReference, NormalReference, ReferenceMeasure
from lvkam_pyro.modules.summary import PriorSummary
from lvkam_pyro.plots.calibration import plot_loo_pit
from lvkam_pyro.plots.convergence import plot_convergence
from lvkam_pyro.plots.densities import plot_prior_densities
from lvkam_pyro.plots.evidence import plot_evidence
from lvkam_pyro.plots.function_grid import plot_function_grid
from lvkam_pyro.plots.functions import plot_functions
from lvkam_pyro.plots.loss import plot_loss
from lvkam_pyro.plots.mismatch import plot_mismatch
from lvkam_pyro.plots.network import plot_network
from lvkam_pyro.plots.power_posteriors import plot_power_posteriors
from lvkam_pyro.plots.predictive import plot_predictive_check
from lvkam_pyro.plots.samples import plot_samples
from lvkam_pyro.plots.thermodynamic import plot_thermodynamic_curve
from lvkam_pyro.plots.traversals import plot_traversals
from lvkam_pyro.plots.uniformity import plot_ecdf_difference, plot_ranks
from lvkam_pyro.plots.weights import plot_importance_weights
from lvkam_pyro.problems.problem import Problem
from lvkam_pyro.problems.suite import load_problem, problem_names
from lvkam_pyro.problems.validation import Trial, Validation, validate
from lvkam_pyro.training.early_stopping import EarlyStopping
from lvkam_pyro.training.grid_updates import GridUpdates
from lvkam_pyro.training.importance_weighted import ImportanceWeightedBound
from lvkam_pyro.training.loop import fit
from lvkam_pyro.training.newton import MStep, NewtonMStep
from lvkam_pyro.training.objective import EmpiricalBayes
from lvkam_pyro.training.pca import PCAStart
from lvkam_pyro.training.recipe import Recipe
from lvkam_pyro.training.smoothness import Smoothness
from lvkam_pyro.training.sparsity import Sparsity

__version__: str
__all__ = [
    "HMC",
    "KAN",
    "LOOPIT",
    "LVKAM",
    "MALA",
    "PCHIP",
    "SBC",
    "ULA",
    "Adaptive",
    "AmortizedGuide",
    "AnalyticExtrapolation",
    "AnnealedImportance",
    "AutoEvidence",
    "BSplineBasis",
    "Basis",
    "BayesFactor",
    "BayesFactors",
    "BernoulliLikelihood",
    "CascadeEvidence",
    "CategoricalLikelihood",
    "ChainMemory",
    "ChebyshevBasis",
    "CheckResult",
    "ConstantEnvelope",
    "ConstantExtrapolation",
    "ConvergenceCheck",
    "Corrected",
    "CurvatureBound",
    "DensityFit",
    "Diagnosis",
    "Discrepancy",
    "ELBOEvidence",
    "EarlyStopping",
    "EmpiricalBayes",
    "EnergyDistribution",
    "EnergyMixture",
    "EqualLength",
    "Evidence",
    "EvidenceCheck",
    "EvidenceComparison",
    "EvidenceEstimator",
    "Finding",
    "FixedSchedule",
    "Formula",
    "FourierBasis",
    "GridGibbs",
    "GridGibbsEvidence",
    "GridGibbsGuide",
    "GridMeanFieldGuide",
    "GridSchedule",
    "GridUpdate",
    "GridUpdates",
    "GuideSampler",
    "Hermite",
    "ImportanceEvidence",
    "ImportanceGuide",
    "ImportanceSampler",
    "ImportanceWeightedBound",
    "JointLikelihood",
    "KANGenerator",
    "KANLayer",
    "KnotUpdate",
    "LadderGuide",
    "LadderSampler",
    "LayerFit",
    "LinearExtrapolation",
    "LogLinearEnvelope",
    "LogNormalReference",
    "LogSpline",
    "LogSplineMixture",
    "LookaheadEvidence",
    "LookaheadGuide",
    "MStep",
    "MixtureGuide",
    "MixtureImportance",
    "MixtureOfExperts",
    "MixturePrior",
    "MorletBasis",
    "MultistateBAR",
    "NUTSGuide",
    "NewtonMStep",
    "NonUniformBSplineBasis",
    "NormalLikelihood",
    "NormalReference",
    "PCAStart",
    "Particles",
    "PilotSchedule",
    "PosteriorDraws",
    "PosteriorPredictiveCheck",
    "PosteriorSampler",
    "PowerPosterior",
    "PowerSamples",
    "PowerSchedule",
    "PredictiveCheck",
    "PriorGuide",
    "PriorPosteriorMismatch",
    "PriorPredictiveCheck",
    "PriorSummary",
    "Problem",
    "ProductPrior",
    "Pruning",
    "QuadratureEvidence",
    "QuadratureNodes",
    "QuantizedLikelihood",
    "QuantizedLogistic",
    "QuasiMonteCarloEvidence",
    "RBFBasis",
    "RSWAFBasis",
    "Recipe",
    "RecordedNUTS",
    "ReferenceMeasure",
    "RejectionDraws",
    "RejectionGuide",
    "RejectionSampler",
    "Sandwich",
    "Severity",
    "Smoothness",
    "Sparsity",
    "SteppingStone",
    "SymbolicEnergy",
    "SymbolicFit",
    "SymbolicForm",
    "SymbolicLayer",
    "TemperedSMC",
    "ThermodynamicCurve",
    "ThermodynamicIntegration",
    "Trapezoid",
    "Trial",
    "Uniformity",
    "UnreliablePosteriorWarning",
    "Validation",
    "Verdict",
    "WeightsCheck",
    "arviz_groups",
    "auto_symbolic",
    "check_convergence",
    "check_weights",
    "compare_evidence",
    "diagnose",
    "draw_particles",
    "draw_posterior",
    "edge_entropy",
    "edge_l1",
    "fit",
    "fit_density",
    "fit_symbolic",
    "fit_symbolic_layer",
    "importance",
    "load_problem",
    "loo_pit",
    "plot_convergence",
    "plot_ecdf_difference",
    "plot_evidence",
    "plot_function_grid",
    "plot_functions",
    "plot_importance_weights",
    "plot_loo_pit",
    "plot_loss",
    "plot_mismatch",
    "plot_network",
    "plot_power_posteriors",
    "plot_predictive_check",
    "plot_prior_densities",
    "plot_ranks",
    "plot_samples",
    "plot_thermodynamic_curve",
    "plot_traversals",
    "posterior_predictive_check",
    "prior_posterior_mismatch",
    "prior_predictive_check",
    "problem_names",
    "prune",
    "refine_grid",
    "resample_multinomial",
    "resample_residual",
    "resample_stratified",
    "resample_systematic",
    "roughness",
    "sandwich",
    "sbc",
    "to_arviz",
    "to_sympy",
    "uniformity",
    "update_grid",
    "validate",
]
