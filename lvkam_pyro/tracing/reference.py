"""One run of a program as the reference of others: at the same latents the densities must stay."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Self

import pyro
import torch
from torch import Tensor

from lvkam_pyro.tracing.arguments import Arguments, Program, RowAccess
from lvkam_pyro.tracing.densities import site_log_probs
from lvkam_pyro.tracing.recorder import Site, SiteRecorder
from lvkam_pyro.tracing.session import is_out_of_memory
from lvkam_pyro.tracing.sites import is_delta, plates
from lvkam_pyro.tracing.structure import ProgramStructure

NUM_STACKED = 3
"""Particles of a look: the known one lies between two fresh ones, so that neither the first nor the
last one passes for all."""

_DOUBLE_TOLERANCE = 1e-9
_SINGLE_TOLERANCE = 2e-4
_OUTLIER_TOLERANCE = 1e-8
"""Of the largest density: an outlier's size is in the rounding of the data beside it."""


@dataclass(frozen=True)
class Difference:
    """A density of one datum that changed when it should not have.

    Attributes:
        site: The site's name.
        unit: The index of the datum.
        expected: The log density with all data.
        found: The log density that it became.

    Example:
        >>> print(Difference("x", 3, -1.25, -7.5))
        the log density of datum 3 at site 'x' is -1.25 with all data but becomes -7.5
    """

    site: str
    unit: int
    expected: float
    found: float

    def __str__(self) -> str:
        return (
            f"the log density of datum {self.unit} at site '{self.site}' is {self.expected:.6g} "
            f"with all data but becomes {self.found:.6g}"
        )


@dataclass(frozen=True)
class Part:
    """The data of another run, and which of them keep their latents.

    Attributes:
        places: Where each datum of the run is in the reference, `(B,)`; -1: it is not there, and
            draws its latents anew.
        index: The data that the arguments are cut to, `(B,)`; None: all, as they are.
        access: The way in which they are cut.

    Example:
        >>> Part(torch.tensor([4, -1])).known
        tensor([ True, False])
    """

    places: Tensor
    index: Tensor | None = None
    access: RowAccess = RowAccess.ARGUMENTS

    @property
    def known(self) -> Tensor:
        """Which data keep their latents, `(B,)`."""
        return self.places >= 0


@dataclass(frozen=True)
class Reference:
    """One run of a program alone, on all of its data: the values and the densities to keep.

    Attributes:
        program: The program.
        arguments: Its arguments.
        structure: The plates.
        num_rows: The number of rows of the arguments.
        values: Site name to the value that can be put in again, in Pyro's layout.
        fixed: Site name to the value of what holds one value, a Delta.
        log_probs: Site name to log densities, `(U,)` each.
        count: Adds one to the program's runs.

    Example:
        >>> import pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> with SiteRecorder() as run:
        ...     model(torch.zeros(5))
        >>> arguments, structure = Arguments((torch.zeros(5),), {}), ProgramStructure.of(run, 5)
        >>> reference = Reference.of(model, arguments, structure, run.sites, num_units=5)
        >>> half = torch.tensor([3, 0])
        >>> print(reference.difference(Part(half, half), stacked=True))
        None
    """

    program: Program
    arguments: Arguments
    structure: ProgramStructure
    num_rows: int
    values: Mapping[str, Tensor]
    fixed: Mapping[str, Tensor]
    log_probs: Mapping[str, Tensor]
    count: Callable[[], None] = field(default=lambda: None)

    @classmethod
    def of(
        cls,
        program: Program,
        arguments: Arguments,
        structure: ProgramStructure,
        sites: Mapping[str, Site],
        *,
        num_units: int,
        num_rows: int | None = None,
        count: Callable[[], None] = lambda: None,
    ) -> Self:
        """The reference that a recorded run without particles makes."""
        log_probs = site_log_probs(sites, structure, (1, num_units))
        latents = {name: site for name, site in sites.items() if not site["is_observed"]}
        return cls(
            program,
            arguments,
            structure,
            num_units if num_rows is None else num_rows,
            {name: site["value"] for name, site in latents.items() if not is_delta(site)},
            {name: site["value"] for name, site in latents.items() if is_delta(site)},
            {name: value.expand(1, num_units)[0].cpu() for name, value in log_probs.items()},
            count,
        )

    @property
    def num_units(self) -> int:
        """The number of units in the run."""
        return len(next(iter(self.log_probs.values())))

    def again(self, part: Part, *, stacked: bool) -> dict[str, Site]:
        """The sites of another run, in which the known data have the latents of this one.

        Args:
            part: The data.
            stacked: Whether the particle with known latents lies among others.

        Raises:
            Exception: Whatever the program raises.
        """
        arguments = self.arguments
        if part.index is not None:
            arguments = arguments.rows(part.index, self.num_rows, part.access)
        particles = pyro.plate("_particles", NUM_STACKED, dim=self.structure.particle_dim)
        self.count()
        replay = _PartialReplay(self, part, stacked=stacked)
        with replay, particles if stacked else nullcontext():
            arguments.on(self.program, self.structure, alone=not stacked)
        return replay.sites

    def compare(self, sites: Mapping[str, Site], part: Part, *, stacked: bool) -> Difference | None:
        """The first density of the known data that is another one than here, None if none is."""
        shape = (NUM_STACKED if stacked else 1, len(part.places))
        found = site_log_probs(sites, self.structure, shape)
        units = part.places[part.known]
        for name, expected in self.log_probs.items():
            if name not in found:
                return Difference(name, 0, float(expected[0]), float("nan"))
            values = found[name].expand(shape)[shape[0] // 2].cpu()[part.known]
            wrong = ~_is_close(values, expected[units], expected)
            if bool(wrong.any()):
                first = int(wrong.nonzero()[0])
                at = float(expected[units][first]), float(values[first])
                return Difference(name, int(units[first]), *at)
        return None

    def difference(self, part: Part, *, stacked: bool) -> str | None:
        """The difference of another run in words, a density or a failure; None if there is none."""
        try:
            found = self.compare(self.again(part, stacked=stacked), part, stacked=stacked)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # Whatever else it is: this is a run that the program does not allow.
            return f"the program fails with {type(error).__name__}: {' '.join(str(error).split())}"
        return None if found is None else str(found)


def _is_close(found: Tensor, expected: Tensor, all_expected: Tensor) -> Tensor:
    """Which densities are equal up to the rounding of their precision."""
    if expected.dtype == found.dtype == torch.float64:
        tolerance = _DOUBLE_TOLERANCE * (1 + expected.abs())
    else:
        largest = all_expected.abs().nan_to_num(0.0, 0.0).amax()
        tolerance = _SINGLE_TOLERANCE * (1 + expected.abs()) + _OUTLIER_TOLERANCE * largest
    same = (found == expected) | (found.isnan() & expected.isnan())
    return same | ((found - expected).abs() <= tolerance)


class _PartialReplay(SiteRecorder):
    """Gives known latents their values; elsewhere the program draws its own."""

    def __init__(self, reference: Reference, part: Part, *, stacked: bool) -> None:
        super().__init__(reference.values)
        self.structure = reference.structure
        self.places = part.places.clamp(min=0)
        axes = [1] * self.structure.num_plates
        particle = torch.arange(NUM_STACKED if stacked else 1).eq(int(stacked)).reshape(-1, *axes)
        axes[self.structure.data_dim] = len(part.places)
        self.mask = particle & part.known.reshape(axes)

    def _pyro_sample(self, msg: Site) -> None:
        known = None if msg["is_observed"] else self.values.get(msg["name"])
        if known is None:
            return
        event = msg["fn"].event_dim
        mask = self.mask.to(known.device).reshape(*self.mask.shape, *[1] * event)
        axis = self.structure.data_dim - event
        if any(frame.name == self.structure.data_plate for frame in plates(msg)):
            if known.ndim >= -axis:
                known = known.index_select(axis, self.places.to(known.device))
        else:
            mask = mask.any(axis, keepdim=True)
        if bool(mask.all()):
            msg["value"] = known
        else:
            fresh = msg["fn"](*msg["args"], **msg["kwargs"])
            msg["value"] = torch.where(mask, known, fresh).reshape(fresh.shape)
        msg["done"] = True
