"""A formula of every form, with constants of no special kind, on an interval of its own."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm

LOW, HIGH = -1.3, 2.1


@dataclass(frozen=True)
class Sample:
    """A formula and points on which it is far from every singularity and from a straight line."""

    formula: Formula
    z: Tensor

    @property
    def y(self) -> Tensor:
        """The formula's values at the points."""
        return self.formula(self.z)


def make_sample(form: SymbolicForm) -> Sample:
    """A formula whose argument runs over the middle of the form's domain, or from -1.1 to 2."""
    low, high = (
        (-1.1, 2.0)
        if math.isinf(form.domain[0])
        else (0.2, 3.0)
        if math.isinf(form.domain[1])
        else (0.9 * form.domain[0], 0.7 * form.domain[1])
    )
    a = (high - low) / (HIGH - LOW)
    z = torch.linspace(LOW, HIGH, 120, dtype=torch.float64)
    return Sample(Formula(form, a=a, b=low - a * LOW, c=-2.5, d=0.7), z)


SAMPLES = {name: make_sample(form) for name, form in FORMS.items()}
