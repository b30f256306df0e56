"""The page on estimators: its examples run, and it leaves none of them out."""

import re
from pathlib import Path

import pytest
from matplotlib import pyplot

from lvkam_pyro.problems.suite import estimator_names, make_estimator

DOCS = Path(__file__).parents[2] / "docs"


def test_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for example in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(compile(example, "evidence.md", "exec"), names)
    pyplot.close("all")
    printed = capsys.readouterr().out
    assert "Quadrature" in printed
    assert "log Bayes factors against narrow" in printed


@pytest.mark.parametrize("name", estimator_names())
def test_estimator_is_in_both_pages(name: str) -> None:
    page = (DOCS / "evidence.md").read_text(encoding="utf-8")
    assert f"`{type(make_estimator(name)).__name__}`" in page
    assert f"| {name} | " in (DOCS / "validation.md").read_text(encoding="utf-8")
