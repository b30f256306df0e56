"""Results of ladders and estimators to draw."""

from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from tests.checks import programs


def climb_and_integrate() -> Evidence:
    ladder = Ladder(num_temperatures=8, num_chains=4, num_warmup=10, num_samples=10)
    estimator = ThermodynamicIntegration(ladder)
    return estimator.estimate(programs.linear_gaussian, programs.draw_data(3))


def sample_importance() -> Evidence:
    return Importance(64).estimate(programs.linear_gaussian, programs.draw_data(3))


def climb_path() -> LadderSamples:
    ladder = Ladder(
        num_temperatures=10, num_chains=4, num_warmup=10, num_samples=10, keep_path=True
    )
    return ladder.sample(programs.linear_gaussian, programs.draw_data(3))
