"""Held-out log evidence of the digits under models whose density is known in closed form.

The same split and dequantisation as `models/digits.py`, fitted by scikit-learn: what an LV-KAM
has to beat. The table of `lvkam compare digits` stands beside it in the README.

    python benchmarks/digits.py
"""

import torch
from scipy.stats import sem
from sklearn.decomposition import PCA, FactorAnalysis
from sklearn.mixture import GaussianMixture

from lvkam_pyro.programs import load_program


def main() -> None:
    """Print the table; the error is that of the mean over the held-out data."""
    x, x_test = (
        data.double().numpy() for data in load_program("model", "digits").module.load_data()
    )
    models = {
        "probabilistic PCA, 16": PCA(16, svd_solver="full"),
        "factor analysis, 16": FactorAnalysis(16),
        "factor analysis, 32": FactorAnalysis(32),
        "Gaussian mixture, 10 full": GaussianMixture(10, reg_covar=1e-3, random_state=0),
        "Gaussian mixture, 100 diagonal": GaussianMixture(
            100, covariance_type="diag", reg_covar=1e-3, random_state=0
        ),
    }
    print(f"{'model':<32}{'nats/datum':>11}{'over data':>11}")
    for name, model in models.items():
        torch.manual_seed(0)
        log_evidence = model.fit(x).score_samples(x_test)
        print(f"{name:<32}{log_evidence.mean():>11.1f}{sem(log_evidence):>11.1f}")


if __name__ == "__main__":
    main()
