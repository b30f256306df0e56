"""Trials made by hand, for tests of what is counted on them."""

from dataclasses import replace

import torch

from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.trial import ValidationTrial
from tests.evidence.results import result

EXACT = torch.tensor([-1.0, -2.0], dtype=torch.float64)
FAMILY = Family("mine", "mine", Half.CHOOSING, lambda: (print, EXACT, EXACT), "by hand")


def trial(
    estimates: list[float],
    *,
    error: float = 0.1,
    discretization: float | None = None,
    blind_spot: str = "",
    **options: bool,
) -> ValidationTrial:
    """Of two data, each of which has the standard error and the discretisation error."""
    each = result(
        "m",
        "A",
        estimates,
        error=error * 2**0.5,
        discretization=None if discretization is None else 2 * discretization,
        **options,
    )
    family = replace(FAMILY, blind_spot=blind_spot)
    return ValidationTrial(family, 3, "A", EXACT, each.evidence, 1.0)


REFUSED = ValidationTrial(FAMILY, 3, "A", EXACT, None, 0.0, "does not apply")
