"""The verdict on an estimate of the evidence: gates that can fail, and a remedy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

MIN_EFFECTIVE_SAMPLE_SIZE = 10.0
MAX_CHAIN_SPREAD = 2.0
MAX_RHAT = 1.05
MAX_NAN_SHARE = 1e-3
"""Positions far out overflow, at the beginning of a long way."""
MIN_OVERLAP = 0.03
"""Below it two densities share too few draws (Klimovich, Shirts and Mobley 2015)."""

_MOST_FAILURES = 0.5


@dataclass(frozen=True)
class Gate:
    """One condition that an estimate must meet, at every datum.

    Attributes:
        failed: Which data fail it, `(N,)`.
        reason: What is wrong, as a sentence's end: "have Pareto k above 0.7 (worst 1.2)".

    Example:
        >>> Gate.above("Pareto k", torch.tensor([0.2, 1.5]), 0.7).failed
        tensor([False,  True])
    """

    failed: Tensor
    reason: str

    @classmethod
    def above(cls, name: str, values: Tensor, limit: float) -> "Gate":
        """Fails where a value is above its limit, or not a number.

        Example:
            >>> Gate.above("Pareto k", torch.tensor([0.2, 1.5]), 0.7).reason
            'have Pareto k above 0.7 (worst 1.5)'
        """
        return cls(~(values <= limit), f"have {name} above {limit:g} (worst {_show(values.max())})")

    @classmethod
    def below(cls, name: str, values: Tensor, limit: float) -> "Gate":
        """Fails where a value is below its limit, or not a number.

        Example:
            >>> Gate.below("an effective sample size", torch.tensor([5.0, 50.0]), 10.0).failed
            tensor([ True, False])
        """
        return cls(~(values >= limit), f"have {name} below {limit:g} (worst {_show(values.min())})")


def _show(value: Tensor) -> str:
    return f"{float(value):.3g}"


def common_failure(rhat: Gate) -> Gate:
    """The gate of all data: where half of them do not mix, others pass by chance, in one mode.

    On the problem `mixture_prior` such data were off by 9 of their standard errors.

    Example:
        >>> common_failure(Gate.above("R-hat", torch.tensor([1.0, 1.2]), MAX_RHAT)).failed
        tensor([True, True])
    """
    share = float(rhat.failed.double().mean())
    everywhere = torch.full_like(rhat.failed, share >= _MOST_FAILURES)
    return Gate(everywhere, f"are of a run whose R-hat fails at {100 * share:.0f} % of its data")


@dataclass(frozen=True)
class Verdict:
    """The judgement whether an estimate can be trusted, with reasons and a remedy.

    No internal check sees a mode that no particle or chain has visited: a reliable verdict says
    that nothing is known to be wrong.

    Attributes:
        reliable: Whether no datum fails a gate.
        reasons: Plain sentences, one for each failed gate, with counts and worst values.
        remedy: What to use instead; empty when reliable.
        unreliable: Which data fail a gate, `(N,)`.

    Example:
        >>> gate = Gate.above("Pareto k", torch.tensor([0.2, 1.5]), 0.7)
        >>> print(Verdict.of([gate], remedy="Use a ladder."))
        unreliable: 1 of 2 data have Pareto k above 0.7 (worst 1.5). Use a ladder.
    """

    reliable: bool
    reasons: tuple[str, ...]
    remedy: str
    unreliable: Tensor

    @classmethod
    def of(cls, gates: Sequence[Gate], *, remedy: str) -> "Verdict":
        """The verdict of several gates.

        Args:
            gates: At least one.
            remedy: What to use instead where one fails.
        """
        # On the CPU, where results live.
        failed = torch.stack([gate.failed.cpu() for gate in gates])
        reasons = tuple(
            f"{int(gate.failed.sum())} of {len(gate.failed)} data {gate.reason}."
            for gate in gates
            if bool(gate.failed.any())
        )
        return cls(not reasons, reasons, remedy if reasons else "", failed.any(0))

    def with_reason(self, reason: str) -> "Verdict":
        """The same verdict with a further reason, if it is not empty.

        Example:
            >>> gate = Gate.above("Pareto k", torch.tensor([1.5]), 0.7)
            >>> Verdict.of([gate], remedy="").with_reason("The prior is vague.").reasons
            ('1 of 1 data have Pareto k above 0.7 (worst 1.5).', 'The prior is vague.')
        """
        return replace(self, reasons=(*self.reasons, reason)) if reason else self

    def __str__(self) -> str:
        if self.reliable:
            return "reliable"
        return " ".join(["unreliable:", *self.reasons, self.remedy]).strip()


def nan_gate(shares: Tensor) -> Gate:
    """The condition that hardly any log density was NaN, which counts as none.

    Example:
        >>> nan_gate(torch.tensor([0.0, 0.2])).failed
        tensor([False,  True])
    """
    return Gate.above("a share of NaN log densities", shares, MAX_NAN_SHARE)
