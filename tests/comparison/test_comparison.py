"""The comparison: one ladder for all that share it, one set of data, a table that can be read."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lvkam_pyro.comparison.compare import compare_evidence
from lvkam_pyro.comparison.comparison import EvidenceComparison
from lvkam_pyro.evidence.elbo import ELBO
from lvkam_pyro.evidence.importance import Importance
from lvkam_pyro.evidence.steppingstone import SteppingStone
from lvkam_pyro.evidence.thermodynamic import ThermodynamicIntegration
from lvkam_pyro.ladder.ladder import Ladder, LadderSamples
from tests.tracing.models import LinearGaussian, two_sites, with_deterministic

LADDER = Ladder(num_temperatures=5, num_chains=8, num_warmup=20, num_samples=10)
X = torch.linspace(-1, 1, 4)


def everything() -> list[object]:
    return [
        Importance(512),
        ELBO(512),
        ThermodynamicIntegration(LADDER),
        SteppingStone(LADDER),
    ]


def compare(x: torch.Tensor = X) -> EvidenceComparison:
    models = {"two": two_sites, "one": with_deterministic}
    return compare_evidence(models, x, everything(), progress=False)


def test_rows_are_the_estimators_own_results() -> None:
    comparison = compare()
    assert len(comparison.rows) == 8
    for estimator in everything():
        alone = estimator.estimate(two_sites, X)
        assert torch.equal(comparison["two", estimator.name].log_evidence, alone.log_evidence)


def test_equal_ladders_run_once(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    original = Ladder.sample_bound

    def counted(self: Ladder, *args: object, **kwargs: object) -> LadderSamples:
        runs.append(self)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Ladder, "sample_bound", counted)
    compare()
    assert len(runs) == 2


def test_a_guide_for_each_model() -> None:
    model = LinearGaussian(2, 3)
    x = model.sample(3)
    estimators = [Importance(512)]
    guides = {"a": model.posterior}
    models = {"a": model, "b": model}
    comparison = compare_evidence(models, x, estimators, guide=guides, progress=False)
    assert comparison["a", "Importance"].total_standard_error < 1e-3
    assert comparison["b", "Importance"].total_standard_error > 1e-3


def test_the_table_is_legible() -> None:
    text = str(compare())
    lines = text.splitlines()
    assert max(map(len, lines[:10])) <= 100
    assert lines[0].split() == [
        "model", "estimator", "nats/datum", "s.e.", "ESS", "k", "R-hat", "evals", "verdict",
    ]  # fmt: skip
    assert "lower bound" in text


def test_estimators_of_one_name_are_numbered() -> None:
    estimators = [Importance(64), Importance(512)]
    comparison = compare_evidence(two_sites, X, estimators, progress=False)
    assert comparison["model", "Importance"].num_likelihood_evaluations == 64
    assert comparison["model", "Importance 2"].num_likelihood_evaluations == 512


def test_files_hold_every_row(tmp_path: Path) -> None:
    comparison = compare()
    comparison.to_csv(tmp_path / "evidence.csv")
    comparison.to_json(tmp_path / "evidence.json")
    with (tmp_path / "evidence.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["estimator"] for row in rows[:2]] == ["Importance", "ELBO"]
    stored = json.loads((tmp_path / "evidence.json").read_text())
    for row, entry in zip(comparison, stored, strict=True):
        assert entry["log_evidence"] == row.evidence.log_evidence.tolist()
        assert entry["total"] == row.evidence.total


def test_frame_and_latex_hold_every_row() -> None:
    comparison = compare()
    frame = comparison.to_frame()
    assert list(frame["estimator"]) == [row.evidence.estimator for row in comparison]
    assert frame["total"].tolist() == [row.evidence.total for row in comparison]
    lines = comparison.to_latex().splitlines()
    body = lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")]
    assert [line.count(" & ") for line in body] == [8] * len(comparison.rows)


def test_latex_escapes_names() -> None:
    models = {r"a_b 50% \ {~^}": two_sites}
    comparison = compare_evidence(models, X, [Importance(8)], progress=False)
    escaped = r"a\_b 50\% \textbackslash \space \{\textasciitilde \textasciicircum \} & Importance"
    assert escaped in comparison.to_latex()


def test_mean_interval_is_that_of_the_total() -> None:
    evidence = Importance(64, num_replicates=4).estimate(two_sites, X)
    low, high = replace(evidence, discretization_error=torch.full((4,), 0.5)).mean_interval(0.9)
    half = 2.353363 * evidence.total_standard_error / 4 + 0.5
    assert low == pytest.approx(evidence.mean - half)
    assert high == pytest.approx(evidence.mean + half)


def test_comparisons_on_the_same_data_merge() -> None:
    assert len(compare().merge(compare()).rows) == 16


def test_different_data_are_refused() -> None:
    with pytest.raises(ValueError, match=r"got 2 .*same observations"):
        compare().merge(compare(X + 1))


def test_progress_goes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    compare_evidence(two_sites, X, [Importance(64)])
    captured = capsys.readouterr()
    assert "evidence" in captured.err
    assert not captured.out


@pytest.mark.parametrize(("models", "estimators"), [({}, [Importance(8)]), (two_sites, [])])
def test_nothing_to_compare(models: object, estimators: list[object]) -> None:
    with pytest.raises(ValueError, match="at least one model and one estimator"):
        compare_evidence(models, X, estimators, progress=False)


def test_a_result_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="No result"):
        compare()["three", "ELBO"]
