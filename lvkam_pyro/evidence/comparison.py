"""Several models, several estimators, the same data: one table."""

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor
from tqdm.auto import tqdm

from lvkam_pyro.evidence.estimator import EvidenceEstimator
from lvkam_pyro.evidence.evidence import Evidence
from lvkam_pyro.evidence.ladder import LadderEstimator
from lvkam_pyro.guides.particles import Guide
from lvkam_pyro.guides.power_posterior import PowerPosterior, PowerSamples
from lvkam_pyro.guides.structure import Model
from lvkam_pyro.guides.validation import check_data

_COLUMNS = (
    ("model", 16),
    ("estimator", 14),
    ("nats/datum", 11),
    ("s.e.", 8),
    ("ESS", 7),
    ("k", 6),
    ("R-hat", 6),
    ("evals", 8),
    ("verdict", 13),
)
_LEGEND = (
    "(s.e. of the mean over these data; ESS: median, Pareto k and R-hat: worst; evals: per datum)"
)


@dataclass(frozen=True)
class EvidenceRow:
    """One estimator's result for one model.

    Attributes:
        model: The model's name.
        evidence: The result.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> evidence = lv.ImportanceEvidence(64).estimate(model, torch.rand(4, 3))
        >>> EvidenceRow("mine", evidence).to_dict()["num_data"]
        4
    """

    model: str
    evidence: Evidence

    def to_dict(self) -> dict[str, str | float | int | bool | None]:
        """The row as plain values; None where the estimator has no such diagnostic."""
        evidence, diagnostics = self.evidence, self.evidence.diagnostics
        return {
            "model": self.model,
            "estimator": evidence.estimator,
            "nats_per_datum": evidence.mean,
            "standard_error": evidence.mean_standard_error,
            "discretization_error": _mean(evidence.discretization_error),
            "total": evidence.total,
            "total_standard_error": evidence.total_standard_error,
            "median_ess": _median(diagnostics.get("ess")),
            "worst_pareto_k": _worst(diagnostics.get("pareto_k")),
            "worst_rhat": _worst(diagnostics.get("rhat")),
            "evaluations": evidence.num_likelihood_evaluations,
            "num_data": evidence.num_data,
            "num_unreliable": int(evidence.verdict.unreliable.sum()),
            "reliable": evidence.verdict.reliable,
            "verdict": str(evidence.verdict),
            "data_hash": evidence.data_hash,
        }

    def cells(self) -> list[str]:
        """The row as the texts of the table's columns."""
        row, evidence = self.to_dict(), self.evidence
        counts = f"{row['num_unreliable']}/{evidence.num_data} bad"
        verdict = "reliable" if evidence.verdict.reliable else counts
        return [
            self.model,
            evidence.estimator,
            f"{evidence.mean:.3f}",
            f"{evidence.mean_standard_error:.2g}",
            _number(row["median_ess"], ".0f"),
            _number(row["worst_pareto_k"], ".2f"),
            _number(row["worst_rhat"], ".3f"),
            str(evidence.num_likelihood_evaluations),
            "lower bound" if evidence.estimator.startswith("ELBO") else verdict,
        ]


def _mean(values: Tensor | None) -> float | None:
    return None if values is None else float(values.mean())


def _median(values: Tensor | None) -> float | None:
    return None if values is None else float(values.median())


def _worst(values: Tensor | None) -> float | None:
    return None if values is None else float(values.max())


def _number(value: object, form: str) -> str:
    return "-" if value is None else format(value, form)


@dataclass(frozen=True)
class EvidenceComparison:
    """Results on the same data, one row for each model and estimator.

    Results on different data are not comparable, and refused.

    Attributes:
        rows: The results.

    Raises:
        ValueError: If there is no row, or rows come from different data.

    Example:
        >>> import torch, lvkam_pyro as lv
        >>> model = lv.LVKAM(lv.MixturePrior(2), lv.KANGenerator(2, 3), lv.NormalLikelihood(3))
        >>> comparison = compare_evidence(model, torch.rand(4, 3), [lv.ImportanceEvidence(64)])
        >>> [row.evidence.num_data for row in comparison]
        [4]
    """

    rows: tuple[EvidenceRow, ...]

    def __post_init__(self) -> None:
        hashes = sorted({row.evidence.data_hash for row in self.rows})
        if len(hashes) != 1:
            raise ValueError(
                f"Expected results on one set of data, but got {len(hashes)} ({hashes}). "
                "Estimate the evidence of every model on the same observations."
            )

    def __iter__(self) -> Iterator[EvidenceRow]:
        return iter(self.rows)

    def __getitem__(self, key: tuple[str, str]) -> Evidence:
        """The result of one (model, estimator).

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if (row.model, row.evidence.estimator) == key:
                return row.evidence
        present = [(row.model, row.evidence.estimator) for row in self.rows]
        raise KeyError(f"No result {key}. Results: {present}.")

    def merge(self, other: "EvidenceComparison") -> "EvidenceComparison":
        """Both comparisons' rows, if they come from the same data.

        Raises:
            ValueError: If the data differ.
        """
        return EvidenceComparison(self.rows + other.rows)

    def to_dict(self) -> list[dict[str, str | float | int | bool | None]]:
        """The rows as plain values."""
        return [row.to_dict() for row in self.rows]

    def to_csv(self, path: str | Path) -> None:
        """Write the rows to a CSV file.

        Args:
            path: The file.
        """
        rows = self.to_dict()
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def to_json(self, path: str | Path) -> None:
        """Write the rows, each with its values per datum, to a JSON file.

        Args:
            path: The file.
        """
        rows = [
            {
                **row.to_dict(),
                "log_evidence": row.evidence.log_evidence.tolist(),
                "log_evidence_standard_error": row.evidence.standard_error.tolist(),
                "unreliable": row.evidence.verdict.unreliable.tolist(),
            }
            for row in self.rows
        ]
        Path(path).write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")

    def table(self) -> str:
        """The comparison as text of at most 100 columns, with the reasons of bad verdicts below."""
        lines = [_line([name for name, _ in _COLUMNS]), _line(["-" * w for _, w in _COLUMNS])]
        lines += [_line(row.cells()) for row in self.rows]
        lines += [_LEGEND]
        for row in self.rows:
            if not row.evidence.verdict.reliable:
                lines += ["", f"{row.model}, {row.evidence.estimator}:"]
                lines += [f"  {reason}" for reason in row.evidence.verdict.reasons]
                lines += [f"  {row.evidence.verdict.remedy}"]
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.table()


def _line(cells: Iterable[str]) -> str:
    """Texts to the left, numbers to the right, each cut to its column."""
    padded = [
        cell[:width].ljust(width) if index in {0, 1, 8} else cell.rjust(width)
        for index, (cell, (_, width)) in enumerate(zip(cells, _COLUMNS, strict=True))
    ]
    return " ".join(padded).rstrip()


def compare_evidence(
    models: Model | Mapping[str, Model],
    x: Tensor,
    estimators: Sequence[EvidenceEstimator],
    *,
    guide: Guide | Mapping[str, Guide] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> EvidenceComparison:
    """Estimate the evidence of each model by each estimator, on the same data.

    Estimators with equal ladders share one run of it. Estimators of equal name are numbered.

    Args:
        models: One Pyro model, or name to model.
        x: The observations, of shape `(N, ...)`.
        estimators: At least one.
        guide: The proposal of the estimators that use one: one guide, or the model's name to its
            guide; None is each model's prior.
        seed: Equal seeds give equal results; the caller's generators are left alone.
        progress: Whether to show progress bars.

    Returns:
        The comparison.

    Raises:
        TypeError: If `x` is no tensor.
        ValueError: If there is no model or no estimator, or `x` is empty or not finite.

    Example:
        >>> import pyro, pyro.distributions as dist, torch
        >>> from lvkam_pyro.evidence.importance import ImportanceEvidence
        >>> def model(x):
        ...     with pyro.plate("data", len(x)):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 1.0), obs=x)
        >>> estimators = [ImportanceEvidence(512)]
        >>> comparison = compare_evidence(model, torch.zeros(3), estimators, progress=False)
        >>> comparison["model", "Importance"].num_data
        3
    """
    check_data(x)
    named = models if isinstance(models, Mapping) else {"model": models}
    if not named or not estimators:
        raise ValueError(
            f"Expected at least one model and one estimator, but got {len(named)} and "
            f"{len(estimators)}. Pass e.g. compare_evidence(model, x, [ImportanceEvidence()])."
        )
    bar = tqdm(total=len(named) * len(estimators), desc="evidence", disable=not progress)
    rows = []
    with bar:
        for name, model in named.items():
            proposal = guide.get(name) if isinstance(guide, Mapping) else guide
            runs: list[tuple[PowerPosterior, PowerSamples]] = []
            for estimator in estimators:
                bar.set_postfix_str(f"{name}, {estimator.name}")
                rows.append(EvidenceRow(name, _estimate(estimator, model, x, proposal, seed, runs)))
                bar.update()
    return EvidenceComparison(tuple(_numbered(rows)))


def _numbered(rows: Iterable[EvidenceRow]) -> Iterator[EvidenceRow]:
    """The rows, where the second of one name in a model gets the number 2, and so on."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in rows:
        name = row.evidence.estimator
        counts[row.model, name] += 1
        count = counts[row.model, name]
        label = name if count == 1 else f"{name} {count}"
        yield EvidenceRow(row.model, replace(row.evidence, estimator=label))


def _estimate(
    estimator: EvidenceEstimator,
    model: Model,
    x: Tensor,
    guide: Guide | None,
    seed: int,
    runs: list[tuple[PowerPosterior, PowerSamples]],
) -> Evidence:
    """One result, from a ladder already run where there is one."""
    if not isinstance(estimator, LadderEstimator):
        return estimator.estimate(model, x, guide, seed=seed)
    for ladder, samples in runs:
        if ladder == estimator.ladder:
            return estimator.estimate_from(samples)
    samples = estimator.ladder.sample(model, x, seed=seed)
    runs.append((estimator.ladder, samples))
    return estimator.estimate_from(samples)
