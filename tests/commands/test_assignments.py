"""`--set`: every option reaches the program that has it, and no other."""

from pathlib import Path

import pytest

from lvkam_pyro.commands.parsers import assign
from lvkam_pyro.programs import Program, ProgramError, load_program

SHARED = "def build(*, num_epochs: int = 1, width: int = 2): ...\ndef load_data(*, seed=0): ..."


def programs(tmp_path: Path, *recipes: str) -> dict[str, Program]:
    path = tmp_path / "shared.py"
    path.write_text(SHARED)
    named = {name: load_program("inference", name) for name in recipes}
    return {"model": load_program("model", str(path)), **named}


@pytest.mark.parametrize(
    ("assignment", "expected"),
    [
        ("width=3", {"model": {"width": "3"}, "elbo": {}, "importance": {}}),
        ("model.num_epochs=5", {"model": {"num_epochs": "5"}, "elbo": {}, "importance": {}}),
        ("elbo.num_epochs=5", {"model": {}, "elbo": {"num_epochs": "5"}, "importance": {}}),
        ("hidden=[1,2]", {"model": {}, "elbo": {"hidden": "[1,2]"}, "importance": {}}),
        (
            "inference.batch_size=7",
            {"model": {}, "elbo": {"batch_size": "7"}, "importance": {"batch_size": "7"}},
        ),
    ],
)
def test_option_reaches_its_program(
    tmp_path: Path, assignment: str, expected: dict[str, dict[str, str]]
) -> None:
    assert assign([assignment], programs(tmp_path, "elbo", "importance")) == expected


def test_last_assignment_wins(tmp_path: Path) -> None:
    assert assign(["width=3", "width=a=b"], programs(tmp_path)) == {"model": {"width": "a=b"}}


WRONG = {
    "ambiguous": ("num_epochs=5", "both have an option 'num_epochs'.*model.num_epochs="),
    "unknown": ("depth=5", "No option is called 'depth'.*width=2.*learning_rate"),
    "not the recipe's": ("elbo.width=5", "No option is called 'width'.*learning_rate"),
    "unknown prefix": (
        "mcmc.width=5",
        "no 'mcmc' here; write model.KEY=VALUE or",
    ),
    "no value": ("width", "takes key=value.*'width'"),
    "no key": ("=5", "takes key=value.*'=5'"),
}


@pytest.mark.parametrize(("assignment", "match"), WRONG.values(), ids=WRONG)
def test_wrong_assignment_is_refused(tmp_path: Path, assignment: str, match: str) -> None:
    with pytest.raises(ProgramError, match=match):
        assign([assignment], programs(tmp_path, "elbo"))
