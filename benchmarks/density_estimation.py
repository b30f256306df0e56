"""Held-out log density of real columns: fit_density against a Gaussian kernel estimate.

Every column of scikit-learn's iris, wine, diabetes and breast cancer data, in units of its standard
deviation, by 5-fold cross-validation. The peer is scipy's gaussian_kde with its own bandwidth.
Columns with a value that a tenth of the samples share are marked: they have atoms, where a density
may be as high as one likes, so they are left out of the summary.

    OMP_NUM_THREADS=1 python benchmarks/density_estimation.py
"""

import statistics
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gaussian_kde
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris, load_wine

import lvkam_pyro as lv

Values = NDArray[np.float64]
LOADERS = {
    "iris": load_iris,
    "wine": load_wine,
    "diabetes": load_diabetes,
    "breast cancer": load_breast_cancer,
}
NUM_FOLDS = 5


def columns() -> Iterator[tuple[str, Values]]:
    for name, load in LOADERS.items():
        data = load()
        scaled = (data.data - data.data.mean(0)) / data.data.std(0)
        yield from zip((f"{name}: {c}" for c in data.feature_names), scaled.T, strict=True)


def kernel_estimate(train: Values, test: Values) -> Values:
    return gaussian_kde(train).logpdf(test)


def log_spline(train: Values, test: Values) -> Values:
    density = lv.modules.fit_density(train).density
    return density.log_prob(density.panels.edges.new_tensor(test)).numpy()


def held_out(column: Values, log_prob: Callable[[Values, Values], Values]) -> float:
    """Mean over all samples, each scored by the fit on the other folds."""
    order = np.random.default_rng(0).permutation(len(column))
    folds = [order[k::NUM_FOLDS] for k in range(NUM_FOLDS)]
    scores = [log_prob(column[np.setdiff1d(order, fold)], column[fold]) for fold in folds]
    return float(np.concatenate(scores).mean())


def has_atoms(column: Values) -> bool:
    return np.unique(column, return_counts=True)[1].max() >= 0.1 * len(column)


def main() -> None:
    print(f"{'nats per sample':<46}{'kernel':>9}{'ours':>9}{'gain':>9}")
    gains = []
    for name, column in columns():
        peer, ours = (held_out(column, method) for method in (kernel_estimate, log_spline))
        atoms = has_atoms(column)
        print(f"{name:<46}{peer:>9.3f}{ours:>9.3f}{ours - peer:>9.3f}{'  atoms' if atoms else ''}")
        if not atoms:
            gains.append(ours - peer)
    print(
        f"\n{len(gains)} columns without atoms: mean gain {statistics.fmean(gains):.3f}, median "
        f"{statistics.median(gains):.3f}, least {min(gains):.3f}, behind in "
        f"{sum(gain < 0 for gain in gains)}"
    )


if __name__ == "__main__":
    main()
