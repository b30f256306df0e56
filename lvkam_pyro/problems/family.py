"""A family: problems of one kind, whose difficulty a seed draws."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from zlib import crc32

import torch
from torch import nn

from lvkam_pyro.problems.problem import Answered, Problem
from lvkam_pyro.tracing.session import seeded_rng


class Half(StrEnum):
    """The use of a family: what was chosen on one half is reported on the other.

    Example:
        >>> list(map(str, Half))
        ['choosing', 'reporting']
    """

    CHOOSING = "choosing"
    REPORTING = "reporting"


@dataclass(frozen=True)
class Family:
    """Problems of one kind: a function of a seed that draws parameters and data.

    Attributes:
        name: What `load_problem` finds it by.
        title: What it is, in a few words.
        half: Whether limits of gates may be chosen on it, or are reported on it.
        answered: Draws a model, data and their exact log evidence, in float64, from torch's global
            generator.
        source: How the exact answer is known.
        blind_spot: Why every estimator is expected to miss it; empty where none should.
        stream: What is added to seeds; None: a number of its name, so that families do not all draw
            the same dimension under one seed.

    Example:
        >>> import lvkam_pyro as lv
        >>> family = lv.problems.load_family("equal_modes")
        >>> str(family.half), family.problem(seed=3).num_data
        ('choosing', 8)
    """

    name: str
    title: str
    half: Half
    answered: Callable[[], Answered]
    source: str = "closed form"
    blind_spot: str = ""
    stream: int | None = None

    def problem(self, seed: int = 0, *, dtype: torch.dtype = torch.float64) -> Problem:
        """A problem of the family, the same each time.

        Args:
            seed: Of its parameters and data.
            dtype: Of the data, and of what the model computes; the exact answer is in float64.
        """
        stream = crc32(self.name.encode()) if self.stream is None else self.stream
        with seeded_rng(seed + stream, torch.empty(0)):
            model, x, log_evidence = self.answered()
        if isinstance(model, nn.Module):
            model.to(dtype)
        return Problem(
            self.name, self.title, model, x.to(dtype), log_evidence, self.source, self.blind_spot
        )
