"""A comparison that goes on where it was stopped."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan
from pathlib import Path

import pyro
import pytest
import torch
from torch import Tensor

import lvkam_pyro as lv
from lvkam_pyro.comparison._fingerprint import fingerprint
from lvkam_pyro.comparison._store import EvidenceStore
from lvkam_pyro.comparison.compare import EvidenceTask
from lvkam_pyro.evidence.cascade import CascadeEvidence
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.ladder.ladder import LadderSamples
from lvkam_pyro.problems.linear import LinearGaussian
from tests.evidence.results import result

X = torch.tensor([[0.3], [-1.0]], dtype=torch.float64)
LADDER = lv.ladder.Ladder(num_temperatures=3, num_chains=4, num_warmup=2, num_samples=4)


def model(weight: float = 1.0) -> LinearGaussian:
    return LinearGaussian(torch.full((1, 1), weight, dtype=torch.float64))


def with_store_parameter(x: Tensor) -> None:
    scale = pyro.param("scale", torch.tensor(1.0).double())
    with pyro.plate("data", len(x)):
        z = pyro.sample("z", pyro.distributions.Normal(x.new_zeros(()), 1.0))
        pyro.sample("x", pyro.distributions.Normal(scale * z, 1.0), obs=x[:, 0])


@pytest.fixture
def estimated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The estimators that ran."""
    ran: list[str] = []
    original = EvidenceTask.run

    def counted(self: EvidenceTask) -> object:
        for found in original(self):
            ran.append(found.evidence.estimator)
            yield found

    monkeypatch.setattr(EvidenceTask, "run", counted)
    return ran


def compare(folder: Path, **changes: object) -> lv.comparison.EvidenceComparison:
    given: dict[str, object] = {
        "models": model(),
        "x": X,
        "estimators": [lv.evidence.Importance(16), lv.evidence.SteppingStone(LADDER)],
        "seed": 1,
    }
    return lv.compare_evidence(**{**given, **changes}, folder=folder, progress=False)


def assert_equal(one: Evidence, other: Evidence) -> None:
    """Every field is the same, bit for bit."""
    assert fingerprint(vars(one)) == fingerprint(vars(other))


def test_what_is_finished_is_not_estimated_again(tmp_path: Path, estimated: list[str]) -> None:
    first = compare(tmp_path)
    assert estimated == ["Importance", "SteppingStone"]
    again = compare(tmp_path)
    assert len(estimated) == 2
    for one, other in zip(first, again, strict=True):
        assert_equal(one.evidence, other.evidence)
        assert torch.equal(one.evidence.log_evidence, other.evidence.log_evidence)


CHANGES: dict[str, Callable[[], dict[str, object]]] = {
    "the data": lambda: {"x": X + 1},
    "the model's parameters": lambda: {"models": model(2.0)},
    "the seed": lambda: {"seed": 2},
    "an estimator's setting": lambda: {
        "estimators": [lv.evidence.Importance(16, num_replicates=4)]
    },
    "the guide": lambda: {"guide": guide, "estimators": [lv.evidence.Importance(16)]},
}


def guide(x: Tensor) -> None:
    with pyro.plate("data", len(x)):
        normal = pyro.distributions.Normal(x.new_zeros(1), 2.0)
        pyro.sample("z", normal.to_event(1))


@pytest.mark.parametrize("change", CHANGES)
def test_change_is_estimated_anew(change: str, tmp_path: Path, estimated: list[str]) -> None:
    compare(tmp_path)
    estimated.clear()
    changed = CHANGES[change]()
    compare(tmp_path, **changed)
    assert len(estimated) == len(changed.get("estimators", [1, 2]))


def test_parameters_in_pyros_store_count(tmp_path: Path, estimated: list[str]) -> None:
    few = [lv.evidence.Importance(16)]
    for value, runs in ((1.0, 1), (1.0, 1), (2.0, 2)):
        pyro.get_param_store()["scale"] = torch.tensor(value).double()
        compare(tmp_path, models=with_store_parameter, estimators=few)
        assert len(estimated) == runs


STOPS = [True]


class Stopped(lv.evidence.Importance):
    """Stopped by Ctrl-C, the first time."""

    def estimate(self, *args: object, **kwargs: object) -> Evidence:
        if STOPS:
            STOPS.pop()
            raise KeyboardInterrupt
        return super().estimate(*args, **kwargs)


def test_interrupted_comparison_goes_on(tmp_path: Path, estimated: list[str]) -> None:
    estimators = [lv.evidence.Importance(16), Stopped(8), lv.evidence.ELBO(8)]
    with pytest.raises(KeyboardInterrupt):
        compare(tmp_path, estimators=estimators)
    assert estimated == ["Importance"]
    comparison = compare(tmp_path, estimators=estimators)
    assert estimated == ["Importance", "Importance", "ELBO"]
    names = [row.evidence.estimator for row in comparison]
    assert names == ["Importance", "Importance 2", "ELBO"]


def test_ladder_cut_short_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = lv.ladder.Ladder.sample_bound

    def cut(self: lv.ladder.Ladder, *args: object, **kwargs: object) -> LadderSamples:
        samples = original(replace(self, num_samples=8), *args, **kwargs)
        return replace(samples, log_likelihood=samples.log_likelihood[:5])

    ladder = replace(LADDER, num_samples=8)
    with monkeypatch.context() as patch:
        patch.setattr(lv.ladder.Ladder, "sample_bound", cut)
        compare(tmp_path, estimators=[lv.evidence.SteppingStone(ladder)])
    assert not list(tmp_path.iterdir())
    compare(tmp_path, estimators=[lv.evidence.SteppingStone(ladder)])
    assert len(list(tmp_path.iterdir())) == 1


def test_result_with_more_to_it_is_not_kept(tmp_path: Path) -> None:
    auto = lv.evidence.Auto([lv.evidence.Importance(16)])
    for _ in range(2):
        comparison = compare(tmp_path, estimators=[auto])
        assert isinstance(comparison["model", "Auto"], CascadeEvidence)
    assert not list(tmp_path.iterdir())


def test_every_number_is_read_back_bit_for_bit(tmp_path: Path) -> None:
    evidence = replace(
        result("m", "A", [nan, -inf, 1 / 3], discretization=1e-300).evidence,
        diagnostics={"curve": torch.rand(2, 3), "flags": torch.tensor([True, False])},
    )
    EvidenceStore(tmp_path).save("key", evidence)
    found = EvidenceStore(tmp_path).load("key")
    assert found is not None
    assert_equal(found, evidence)
    assert found.diagnostics["curve"].dtype == torch.float32
    assert [path.name for path in tmp_path.iterdir()] == ["key.pt"]


@pytest.mark.parametrize("content", [b"", b"{}", b"half"])
def test_damaged_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "key.pt").write_bytes(content)
    with pytest.raises(ValueError, match=r"key\.pt is damaged .* Remove it"):
        EvidenceStore(tmp_path).load("key")


@pytest.mark.parametrize("content", [[], {}, {"verdict": {}, "diagnostics": {}}])
def test_file_of_something_else_is_named(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "key.pt")
    with pytest.raises(ValueError, match=r"key\.pt is damaged .* Remove it"):
        EvidenceStore(tmp_path).load("key")


def test_file_in_the_folders_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="is a file; results need a folder"):
        compare(tmp_path / "file")
