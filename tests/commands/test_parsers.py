"""Parsers from signatures: what each kind of argument becomes."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from jsonargparse import ArgumentError

from lvkam_pyro.cli import _COMMANDS
from lvkam_pyro.commands.parsers import command_parser, description_of, examples_of


def command(
    names: Sequence[str],
    *,
    out: Path | None = None,
    num_data: int | None = 3,
    dry_run: bool = False,
    kinds: Sequence[str] = ("a", "b"),
    assignments: Sequence[str] = (),
    device: str = "cpu",
) -> str:
    """Does something.

    Args:
        names: The names.
        out: A file.
        num_data: Of the
            first only.
        dry_run: Whether to do nothing.
        kinds: Several.
        assignments: Options.
        device: A device.
    """
    return f"{names} {out} {num_data} {dry_run} {kinds} {assignments} {device}"


def parse(*arguments: str) -> dict[str, object]:
    values = dict(command_parser(command).parse_args(list(arguments)).as_dict())
    return {name: values[name] for name in values if name not in {"config", "debug", "threads"}}


def test_defaults_are_those_of_the_function() -> None:
    assert parse("x") == {
        "names": ["x"], "out": None, "num_data": 3, "dry_run": False, "kinds": ["a", "b"],
        "assignments": [], "device": "cpu",
    }  # fmt: skip


def test_every_kind_of_argument_is_read() -> None:
    given = ("x", "y", "--out", "o", "--num-data", "null", "--dry-run", "--kinds", "c", "d")
    assert parse(*given, "--set", "a=1", "b=2", "--set", "c=3") == {
        "names": ["x", "y"], "out": Path("o"), "num_data": None, "dry_run": True,
        "kinds": ["c", "d"], "assignments": ["a=1", "b=2", "c=3"], "device": "cpu",
    }  # fmt: skip


@pytest.mark.parametrize("given", [(), ("x", "--num-data", "y"), ("x", "--no", "1"), ("x", "--ou")])
def test_wrong_arguments_are_refused(given: tuple[str, ...]) -> None:
    with pytest.raises(ArgumentError):
        parse(*given)


def test_help_is_the_docstring() -> None:
    text = " ".join(command_parser(command).format_help().split())
    assert description_of(command) == "Does something."
    assert "Does something." in text
    assert "Of the first only." in text


@pytest.mark.parametrize("name", _COMMANDS)
def test_every_argument_of_every_command_has_help(name: str) -> None:
    assert examples_of(_COMMANDS[name])
    for action in command_parser(_COMMANDS[name])._actions:
        assert action.help, f"{name} says nothing of {action.dest}"
