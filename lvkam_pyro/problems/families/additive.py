"""LV-KAM chains of several lengths and noises."""

from lvkam_pyro.problems.chain import chain_log_evidence, draw_data, make_chain
from lvkam_pyro.problems.families.pieces import log_integer, log_uniform
from lvkam_pyro.problems.family import Family, Half
from lvkam_pyro.problems.problem import Answered

_NUM_DATA = 4


def _chain(num_latents: int, scale: float) -> Answered:
    model = make_chain(num_latents, scale=scale)
    x = draw_data(model, _NUM_DATA)
    return model, x, chain_log_evidence(model, x, num_panels=200)


def _chains() -> Answered:
    return _chain(log_integer(3, 20), float(log_uniform(0.05, 0.5)))


def _long_chains() -> Answered:
    """More latents than look-ahead sees, and little noise."""
    return _chain(30, 0.05)


FAMILIES = (
    Family("chains", "LV-KAM chains, 3-D to 20-D", Half.CHOOSING, _chains, "transfer matrices"),
    Family(
        "long_chains",
        "LV-KAM chains of little noise, 30-D",
        Half.REPORTING,
        _long_chains,
        "transfer matrices",
    ),
)
