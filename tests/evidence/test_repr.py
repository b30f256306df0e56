"""What an interactive session shows of a result: what it says, never its tensors."""

from collections.abc import Callable

import pytest
import torch

import lvkam_pyro as lv

PROBLEM = lv.problems.load_problem("linear_gaussian_1")


def particles() -> lv.Particles:
    with torch.no_grad():
        return lv.draw_particles(
            PROBLEM.model, lv.PriorGuide(PROBLEM.model), PROBLEM.x, num_particles=8
        )


def ladder() -> lv.ladder.LadderSamples:
    plan = lv.ladder.Ladder(num_temperatures=3, num_chains=8, num_warmup=4, num_samples=4)
    return plan.sample(PROBLEM.model, PROBLEM.x)


def comparison() -> lv.comparison.EvidenceComparison:
    models = {"one": PROBLEM.model, "other": PROBLEM.model}
    return lv.compare_evidence(models, PROBLEM.x, [lv.evidence.Lookahead(64)], progress=False)


TABLES: dict[str, Callable[[], object]] = {
    "evidence": lambda: comparison()["one", "Lookahead"],
    "comparison": comparison,
    "Bayes factors": lambda: comparison().bayes_factors(),
    "prior": lambda: lv.MixturePrior(2).summary(),
}


@pytest.mark.parametrize("make", TABLES.values(), ids=TABLES)
def test_tables_show_themselves(make: Callable[[], object]) -> None:
    result = make()
    assert repr(result) == str(result)
    assert "tensor" not in repr(result)


def test_draws_show_their_sizes() -> None:
    assert repr(particles()) == "Particles(8 of 4 data, latents {'z': (8, 1, 1)})"
    assert repr(ladder()) == "LadderSamples(4 draws of 8 chains at 3 temperatures, 4 data)"
