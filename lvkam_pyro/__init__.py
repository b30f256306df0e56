"""The Latent Variable Kolmogorov-Arnold Model as a probabilistic-programming library on Pyro.

The public names load on first use (PEP 562), so that ``import lvkam_pyro`` costs what
``import pyro`` costs although the diagnostics stand on ArviZ and matplotlib.
"""

import importlib

_HOME = {
    "AmortizedGuide": "guides.amortized",
    "AnalyticExtrapolation": "kan.extrapolation",
    "BSplineBasis": "kan.bspline",
    "Basis": "kan.basis",
    "BayesFactor": "evidence.bayes_factors",
    "BayesFactors": "evidence.bayes_factors",
    "ChebyshevBasis": "kan.chebyshev",
    "ConstantEnvelope": "distributions.envelope",
    "ConstantExtrapolation": "kan.extrapolation",
    "Corrected": "evidence.rules",
    "CurvatureBound": "distributions.envelope",
    "DensityFit": "modules.density_estimation",
    "ELBOEvidence": "evidence.elbo",
    "EmpiricalBayes": "training.objective",
    "EnergyDistribution": "distributions.energy",
    "EnergyMixture": "distributions.mixture",
    "Evidence": "evidence.evidence",
    "EvidenceComparison": "evidence.comparison",
    "EvidenceEstimator": "evidence.estimator",
    "Formula": "kan.symbolic.formula",
    "FourierBasis": "kan.fourier",
    "GridGibbs": "guides.grid_gibbs",
    "GridGibbsEvidence": "evidence.grid_gibbs",
    "GridMeanFieldGuide": "guides.mean_field",
    "GridSchedule": "kan.grid_schedule",
    "GridUpdate": "kan.grid",
    "GridUpdates": "training.grid_updates",
    "HMC": "guides.hmc",
    "Hermite": "evidence.rules",
    "ImportanceEvidence": "evidence.importance",
    "KAN": "kan.network",
    "KANGenerator": "modules.generator",
    "KANLayer": "kan.layer",
    "KnotUpdate": "modules.knots",
    "LVKAM": "lvkam",
    "LayerFit": "kan.symbolic.layer_fit",
    "LinearExtrapolation": "kan.extrapolation",
    "LogLinearEnvelope": "distributions.envelope",
    "LogNormalReference": "modules.reference",
    "LogSpline": "distributions.logspline",
    "LogSplineMixture": "distributions.logspline_mixture",
    "LookaheadEvidence": "evidence.lookahead",
    "LookaheadGuide": "guides.lookahead",
    "MALA": "guides.mala",
    "MStep": "training.newton",
    "MixturePrior": "modules.mixture_prior",
    "MorletBasis": "kan.wavelet",
    "MultistateBAR": "evidence.multistate",
    "NewtonMStep": "training.newton",
    "NonUniformBSplineBasis": "kan.nonuniform",
    "NormalLikelihood": "modules.likelihood",
    "NormalReference": "modules.reference",
    "PCAStart": "training.pca",
    "PCHIP": "evidence.rules",
    "Particles": "guides.particles",
    "PowerPosterior": "guides.power_posterior",
    "PowerSamples": "guides.power_posterior",
    "PowerSchedule": "guides.schedule",
    "PriorGuide": "guides.prior",
    "PriorSummary": "modules.summary",
    "Problem": "problems.problem",
    "ProductPrior": "modules.product_prior",
    "Pruning": "kan.pruning",
    "QuadratureNodes": "distributions.nodes",
    "RBFBasis": "kan.rbf",
    "RSWAFBasis": "kan.rswaf",
    "Recipe": "training.recipe",
    "ReferenceMeasure": "modules.reference",
    "RejectionSampler": "distributions.rejection",
    "Smoothness": "training.smoothness",
    "Sparsity": "training.sparsity",
    "SteppingStone": "evidence.steppingstone",
    "SymbolicEnergy": "modules.formulas",
    "SymbolicFit": "kan.symbolic.fit",
    "SymbolicForm": "kan.symbolic.form",
    "SymbolicLayer": "kan.symbolic.layer",
    "ThermodynamicCurve": "evidence.multistate",
    "ThermodynamicIntegration": "evidence.thermodynamic",
    "Trapezoid": "evidence.rules",
    "ULA": "guides.mala",
    "Verdict": "evidence.verdict",
    "auto_symbolic": "kan.symbolic.network",
    "compare_evidence": "evidence.compare",
    "draw_particles": "guides.particles",
    "edge_entropy": "kan.regularization",
    "edge_l1": "kan.regularization",
    "fit": "training.loop",
    "fit_density": "modules.density_estimation",
    "fit_symbolic": "kan.symbolic.fit",
    "fit_symbolic_layer": "kan.symbolic.layer_fit",
    "importance": "kan.pruning",
    "load_problem": "problems.suite",
    "plot_evidence": "plots.evidence",
    "plot_function_grid": "plots.function_grid",
    "plot_functions": "plots.functions",
    "plot_loss": "plots.loss",
    "plot_network": "plots.network",
    "plot_prior_densities": "plots.densities",
    "plot_samples": "plots.samples",
    "plot_thermodynamic_curve": "plots.thermodynamic",
    "problem_names": "problems.suite",
    "prune": "kan.pruning",
    "refine_grid": "kan.grid",
    "resample_multinomial": "distributions.resampling",
    "resample_residual": "distributions.resampling",
    "resample_stratified": "distributions.resampling",
    "resample_systematic": "distributions.resampling",
    "roughness": "kan.regularization",
    "to_arviz": "diagnostics.arviz",
    "to_sympy": "kan.symbolic.network",
    "update_grid": "kan.grid",
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
