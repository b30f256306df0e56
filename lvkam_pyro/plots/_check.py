"""The picture of a check, whatever was checked."""

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from lvkam_pyro.checks.calibration import SBC
from lvkam_pyro.checks.check import CheckResult
from lvkam_pyro.checks.convergence_check import ConvergenceCheck
from lvkam_pyro.checks.evidence_check import EvidenceCheck
from lvkam_pyro.checks.leave_one_out import LOOPIT
from lvkam_pyro.checks.mismatch import PriorPosteriorMismatch
from lvkam_pyro.checks.predictive import PredictiveCheck
from lvkam_pyro.checks.weights_check import WeightsCheck
from lvkam_pyro.plots._evidence import evidence
from lvkam_pyro.plots._ladder import convergence
from lvkam_pyro.plots._mismatch import mismatch
from lvkam_pyro.plots._samples import predictive_check
from lvkam_pyro.plots._uniformity import loo_pit, ranks
from lvkam_pyro.plots._weights import importance_weights


@singledispatch
def check(result: CheckResult, *, axes: object = None) -> NDArray[np.object_]:
    """The picture of a check's result, by the plot for its class.

    `ranks` for an `SBC`, `loo_pit` for a `LOOPIT`, `predictive_check` for a `PredictiveCheck`,
    `mismatch` for a `PriorPosteriorMismatch`, `importance_weights` for a `WeightsCheck`,
    `convergence` for a `ConvergenceCheck`, `evidence` for an `EvidenceCheck`. The picture of
    another class is added by `plots.check.register(MyCheck, draw_mine)`.

    Args:
        result: The result of a check.
        axes: As many axes as the plot has panels; None: a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If there is no picture of such a check.
        ValueError: If the axes are too few.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> axes = lv.plots.check(lv.checks.check_weights(torch.randn(1000, 30)))
        >>> axes[0].get_ylabel()
        'Pareto k'
    """
    raise TypeError(
        f"Expected the result of a check that has a picture, got {type(result).__name__}. Add one "
        "by plots.check.register, or print the result."
    )


check.register(SBC, ranks)
check.register(LOOPIT, loo_pit)
check.register(PredictiveCheck, predictive_check)
check.register(PriorPosteriorMismatch, mismatch)
check.register(WeightsCheck, importance_weights)
check.register(ConvergenceCheck, convergence)


@check.register
def _(result: EvidenceCheck, *, axes: object = None) -> NDArray[np.object_]:
    return np.array([evidence(result.comparison, axes=axes)], dtype=object)
