"""Every estimator of the evidence, small: the table that the contract runs over."""

from collections.abc import Callable
from dataclasses import dataclass

import lvkam_pyro as lv

QUICK = lv.ladder.Ladder(num_temperatures=12, num_chains=16, num_warmup=40, num_samples=30)
TINY = lv.ladder.Ladder(num_temperatures=4, num_chains=8, num_warmup=10, num_samples=4)
GIBBS = lv.ladder.Ladder(
    num_temperatures=12,
    num_chains=16,
    num_warmup=10,
    num_samples=30,
    kernel=lv.ladder.GridGibbsKernel(),
)


@dataclass(frozen=True)
class Case:
    """How to make an estimator, and what it can do.

    Attributes:
        make: Makes it, of a size at which a test of two latents is reliable.
        takes_guide: Whether it proposes from a guide.
        needs_additive: Whether it serves additive models with normal noise alone.
        needs_independent: Whether its latents must be independent a priori.
        is_random: Whether it has a Monte Carlo error.
    """

    make: Callable[[], lv.evidence.Estimator]
    takes_guide: bool = False
    needs_additive: bool = False
    needs_independent: bool = False
    is_random: bool = True


ESTIMATORS: dict[str, Case] = {
    "importance": Case(lambda: lv.evidence.Importance(8192), takes_guide=True),
    "quasi": Case(lambda: lv.evidence.QuasiMonteCarlo(8192), takes_guide=True),
    "mixture": Case(lambda: lv.evidence.MixtureImportance(2048, num_pilots=256)),
    "quadrature": Case(lv.evidence.Quadrature, needs_independent=True, is_random=False),
    "thermodynamic": Case(lambda: lv.evidence.ThermodynamicIntegration(QUICK)),
    "steppingstone": Case(lambda: lv.evidence.SteppingStone(QUICK)),
    "reverse": Case(lambda: lv.evidence.SteppingStone(QUICK, reverse=True)),
    "multistate": Case(lambda: lv.evidence.MultistateBAR(QUICK)),
    "annealed": Case(lambda: lv.evidence.AnnealedImportance(1024, num_temperatures=32)),
    "smc": Case(lambda: lv.evidence.TemperedSMC(1024, num_moves=3)),
    "bridge": Case(lambda: lv.evidence.Bridge(4096, ladder=QUICK)),
    "mixture smc": Case(lambda: lv.evidence.MixtureSMC(512, num_moves=3, num_pilots=256)),
    "lookahead": Case(
        lambda: lv.evidence.Lookahead(2048),
        needs_additive=True,
        needs_independent=True,
        is_random=False,  # For linear models.
    ),
    "gibbs": Case(
        lambda: lv.evidence.GridGibbs(GIBBS), needs_additive=True, needs_independent=True
    ),
    "auto": Case(
        lambda: lv.evidence.Auto(
            [
                lv.evidence.Quadrature(),
                lv.evidence.QuasiMonteCarlo(4096),
                lv.evidence.MultistateBAR(QUICK),
            ]
        ),
        is_random=False,
    ),
}  # fmt: skip
