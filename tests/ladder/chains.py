"""The chains that several rooms are tested on."""

from lvkam_pyro.problems.chain import chain_log_evidence as exact_log_evidence
from lvkam_pyro.problems.chain import draw_data
from lvkam_pyro.problems.chain import make_chain as chain

__all__ = ["chain", "draw_data", "exact_log_evidence"]
