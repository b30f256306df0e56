"""Values of a basis against its formula in numpy's extended precision."""

from collections.abc import Callable

import numpy as np
import torch

from lvkam_pyro.kan.bases.basis import Basis

Formula = Callable[[np.ndarray], np.ndarray]
"""All functions, (N, K), at points (N,), both in extended precision."""

PRECISIONS = {torch.float32: 3e-6, torch.float64: 1e-14}
"""The largest error, where the largest value of a function is 1."""


def assert_matches_formula(basis: Basis, formula: Formula) -> None:
    """All functions, at points close to and far from the ends, in both precisions."""
    low, high = basis.domain
    near = np.geomspace(1e-9, 1e-2, 30)
    places = np.concatenate([[0, 1], near, 1 - near, np.linspace(0, 1, 301)])
    for precision, tolerance in PRECISIONS.items():
        z = torch.from_numpy(low + (high - low) * places).to(precision).clamp(low, high)
        exact = formula(z.numpy().astype(np.longdouble))
        error = np.abs(basis(z).detach().numpy() - exact).max()
        assert error <= tolerance, f"{precision}: error {error:.1e}"
