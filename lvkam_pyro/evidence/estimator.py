"""The estimator of the evidence: a Pyro ELBO that can also say how well it is known."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor

from lvkam_pyro.evidence.evidence import Evidence, to_double
from lvkam_pyro.evidence.verdict import Gate, Verdict
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.tracing.arguments import Program
from lvkam_pyro.tracing.bind import ProgramLoss, bind, bind_guide
from lvkam_pyro.tracing.failures import explain_nan
from lvkam_pyro.tracing.program import BoundProgram

MAX_GRADIENT_DRAWS = 512
"""Posterior draws of each unit in one gradient."""


class Estimator(ProgramLoss):
    """An estimator of the log evidence of each unit of a Pyro program.

    A unit is a datum, log p(x_n), where the data are independent; else the data set, log p(x).

    It stands wherever `Trace_ELBO` does: `SVI(model, guide, optim, loss=estimator)`,
    `estimator(model, guide)(x)` with a torch optimiser, `estimator.loss(model, guide, x)`. The loss
    is minus the total, scaled to the data plate's full size; its gradient in the model's parameters
    is Fisher's, E[grad log p(x, z) | x] under the estimator's posterior draws. Losses train what
    Pyro's parameter store holds, and refuse modules of whose names it holds other tensors;
    `estimate` computes with the modules' own parameters and leaves the store as it was.

    Implementing an estimator:

    - Inherit from `Estimator` and set `name`, the display name, `remedy`, the method to use instead
      where it fails, and `is_lower_bound` if its value is a bound: its results say so.
    - Define `estimate_bound(program, guide, seed) -> Evidence`, which `conclude` builds.
    - Define `log_evidence(program, guide) -> (total, data scale)`: the total of one estimate as a
      tensor with Fisher's gradient, from torch's global generator.

    Example:
        >>> import lvkam_pyro as lv
        >>> isinstance(lv.evidence.SteppingStone(), Estimator)
        True
    """

    name: str
    remedy: str = ""
    is_lower_bound: bool = False

    def estimate(
        self, model: Program, *args: Any, guide: Program | None = None, seed: int = 0, **kwargs: Any
    ) -> Evidence:
        """Estimate the log evidence with standard errors and a verdict.

        Args:
            model: A Pyro program, or a bound program, which stands for its arguments too.
            *args: The program's arguments.
            guide: The proposal; None is the model's prior. Ladders need none.
            seed: Equal seeds give equal results; the caller's generators are left alone.
            **kwargs: The program's keyword arguments.

        Returns:
            The evidence.

        Raises:
            TypeError: If data are no tensors.
            ValueError: If `bind` refuses the model, or `bind_guide` the guide, or the estimator
                does not apply to the model.
        """
        program = bind(model, *args, **kwargs)
        if guide is not None:
            program = bind_guide(program, guide)
        if program.is_exact:
            evidence = self._exact(program)
        else:
            with _nan_explained(program):
                evidence = self.estimate_bound(program, guide, seed)
        if bool(evidence.verdict.unreliable.any()):
            verdict = evidence.verdict.with_reason(_explain_nan(program))
            evidence = replace(evidence, verdict=verdict)
        return replace(evidence, unit=program.unit.value)

    def _exact(self, program: BoundProgram) -> Evidence:
        """The evidence of a program without continuous latents: its density, known exactly."""
        with program.session():
            _, log_evidence = program.at({})
        return self.conclude(
            program,
            log_evidence[0],
            log_evidence.expand(2, -1),
            diagnostics={},
            gates=[Gate(~log_evidence[0].isfinite(), "have no finite log density")],
            num_evaluations=1,
        )

    @abstractmethod
    def estimate_bound(self, program: BoundProgram, guide: Program | None, seed: int) -> Evidence:
        """Estimate the log evidence of a program that was bound, and seen with the guide."""

    def conclude(
        self,
        data: BoundProgram | LadderSamples,
        log_evidence: Tensor,
        leave_one_out: Tensor,
        *,
        diagnostics: Mapping[str, Tensor],
        gates: Sequence[Gate],
        num_evaluations: int,
        discretization_error: Tensor | None = None,
    ) -> Evidence:
        """The result under the estimator's name, with the verdict of its gates.

        Args:
            data: The program, or the draws of it, that the estimate is of.
            log_evidence: `(U,)`.
            leave_one_out: The same without each replicate, `(R, U)`.
            diagnostics: Name to tensor.
            gates: The conditions on the diagnostics.
            num_evaluations: Likelihood evaluations per unit.
            discretization_error: `(U,)`, if there is one.
        """
        return Evidence.of(
            to_double(log_evidence),
            to_double(leave_one_out),
            diagnostics={name: to_double(value) for name, value in diagnostics.items()},
            verdict=Verdict.of(gates, remedy=self.remedy),
            num_likelihood_evaluations=num_evaluations,
            estimator=self.name,
            data_hash=data.data_hash,
            discretization_error=discretization_error,
            data_scale=data.data_scale,
            is_lower_bound=self.is_lower_bound,
        )

    @abstractmethod
    def log_evidence(self, program: BoundProgram, guide: Program | None) -> tuple[Tensor, float]:
        """The total log evidence of one estimate, and the data plate's scale.

        Args:
            program: The bound program.
            guide: The proposal; None is the prior.

        Returns:
            A scalar whose gradient is Fisher's, and full size / size of the data plate.
        """

    def loss_of(self, program: BoundProgram, guide: Program | None) -> Tensor:
        """Minus the total log evidence, scaled to the plate's full size, with its gradient."""
        if program.is_exact:
            return -program.at({})[1].sum() * program.data_scale
        total, scale = self.log_evidence(program, guide)
        return -total * scale


@contextmanager
def _nan_explained(program: BoundProgram) -> Iterator[None]:
    """Says of an error inside a program which of its densities is NaN, if one is."""
    try:
        yield
    except ValueError as error:
        explanation = _explain_nan(program)
        if explanation:
            raise ValueError(explanation) from error
        raise


def _explain_nan(program: BoundProgram) -> str:
    with program.session(seed=0):
        return explain_nan(program)


def with_fisher_gradient(
    total: float, program: BoundProgram, draws: Mapping[str, Tensor]
) -> Tensor:
    r"""A total log evidence whose gradient is that of the joint density at posterior draws.

    .. math:: \nabla \log p(x) = E_{z | x} [\nabla \log p(x, z)]

    Args:
        total: The value.
        program: The bound program.
        draws: Site name to equally weighted draws `(D, U, *inner plates, *event)`; of many, every
            k-th is taken, so that at most 512 are.

    Returns:
        A scalar.

    Example:
        >>> import pyro, pyro.distributions as dist, torch, lvkam_pyro as lv
        >>> shift = torch.tensor(0.0, requires_grad=True)
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z + shift, 1.0), obs=x)
        >>> draws = {"z": torch.full((3, 1), 0.25)}
        >>> with_fisher_gradient(-2.0, lv.bind(model, torch.ones(1)), draws).backward()
        >>> shift.grad
        tensor(0.7500)
    """
    stride = max(-(-len(value) // MAX_GRADIENT_DRAWS) for value in draws.values())
    some = {name: value[::stride] for name, value in draws.items()}
    surrogate = program.log_joint(some).mean(0).sum()
    return total + (surrogate - surrogate.detach())
