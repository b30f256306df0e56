"""What the pages say runs: their Python, in order, and the command lines; their pictures exist."""

import doctest
import re
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from matplotlib import pyplot as plt

import lvkam_pyro
from lvkam_pyro.cli import make_parser
from lvkam_pyro.programs import Kind, program_names
from lvkam_pyro.tracing.prior_guide import PriorGuide
from lvkam_pyro.training.objective import EmpiricalBayes

ROOT = Path(__file__).parents[1]
MADE = {"_build", "notebooks"}
"""Folders of docs/ that its build makes."""

PAGES = sorted(
    path
    for pattern in ("*.md", "benchmarks/*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
    if not MADE & set(path.relative_to(ROOT).parts)
)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def python_of(page: Path) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text_of(page), re.DOTALL | re.MULTILINE)


def commands_of(page: Path) -> list[str]:
    """The lines of code blocks, fenced or indented, that call `lvkam`."""
    lines = re.findall(r"^ *(lvkam .*)$", text_of(page), re.MULTILINE)
    return [line for line in lines if "--print_completion" not in line]


def by_name(pages: list[Path]) -> pytest.MarkDecorator:
    names = [str(page.relative_to(ROOT)) for page in pages]
    return pytest.mark.parametrize("page", pages, ids=names)


def run(code: str, names: dict[str, object], page: Path) -> None:
    """Runs a block; one with prompts is a doctest."""
    if not code.startswith(">>>"):
        exec(compile(code, str(page), "exec"), names)
        return
    test = doctest.DocTestParser().get_doctest(code, names, page.stem, str(page), 0)
    runner = doctest.DebugRunner(optionflags=doctest.ELLIPSIS)
    runner.run(test, clear_globs=False)
    names.update(test.globs)


ONE_PROCESS = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost", "MASTER_PORT": "0"}
"""What torchrun tells the only process of a training."""


def run_page(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    monkeypatch.chdir(folder)
    for name, value in ONE_PROCESS.items():
        monkeypatch.setenv(name, value)
    names: dict[str, object] = {"__name__": "page"}
    try:
        for code in python_of(page):
            run(code, names, page)
    finally:
        plt.close("all")
    return names


@by_name([page for page in PAGES if python_of(page) and page.name != "README.md"])
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_page(page, tmp_path, monkeypatch)


def test_readme_does_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = run_page(ROOT / "README.md", tmp_path, monkeypatch)
    printed = capsys.readouterr().out
    assert "Importance" in printed
    assert "SteppingStone" in printed
    assert {"iris.nc", "iris.html"} <= {path.name for path in tmp_path.iterdir()}
    model = names["Digits"]()
    loss = EmpiricalBayes(4)(model, PriorGuide(model))(torch.rand(5, 64))
    assert torch.isfinite(loss)


@by_name([page for page in PAGES if commands_of(page)])
def test_command_lines_parse(page: Path) -> None:
    parser = make_parser()
    for command in commands_of(page):
        words = shlex.split(command, comments=True)
        assert parser.parse_args(words[1:]).command == words[1]


@by_name(PAGES)
def test_pictures_and_files_exist(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text_of(page)):
        if "://" not in target:
            assert (page.parent / target).is_file(), target


@pytest.mark.parametrize("kind", ["model", "inference"])
def test_every_program_is_listed(kind: Kind) -> None:
    text = text_of(ROOT / "docs" / "programs.md")
    assert not [name for name in program_names(kind) if f"`{name}`" not in text]


def test_citation_is_of_this_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation), "what the format asks"
    assert citation["version"] == lvkam_pyro.__version__
