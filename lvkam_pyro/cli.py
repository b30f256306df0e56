"""The `lvkam` command: its subcommands, their exit codes, and errors in one line."""

import os
import shlex
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pyro
import torch
from jsonargparse import (
    ArgumentError,
    ArgumentParser,
    DefaultHelpFormatter,
    Namespace,
    set_parsing_settings,
)

from lvkam_pyro import __version__
from lvkam_pyro.commands.compare import compare_command, evidence_command
from lvkam_pyro.commands.diagnose import diagnose_command
from lvkam_pyro.commands.fit import fit_command, resume_command
from lvkam_pyro.commands.interrupts import Interrupted, Terminated, terminable
from lvkam_pyro.commands.new import new_command
from lvkam_pyro.commands.parsers import command_parser, description_of
from lvkam_pyro.commands.sample import sample_command
from lvkam_pyro.commands.setup import check_device
from lvkam_pyro.commands.torchrun import is_first, joined_processes, leave, local_device
from lvkam_pyro.commands.validate import validate_command
from lvkam_pyro.options import check_count

OK, FAILED, WRONG_INPUT, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143
"""The exit codes: done; failed while running; wrong usage or input; Ctrl-C; SIGTERM."""

_COMMANDS: dict[str, Callable[..., str]] = {
    "fit": fit_command,
    "resume": resume_command,
    "evidence": evidence_command,
    "compare": compare_command,
    "sample": sample_command,
    "diagnose": diagnose_command,
    "new": new_command,
    "validate": validate_command,
}

_WRONG_INPUT = (
    ArgumentError,
    ValueError,
    TypeError,
    FileNotFoundError,
    FileExistsError,
    NotADirectoryError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        arguments: What follows `lvkam`; None: those of the process.

    Returns:
        The exit code: 0 done, 1 failed while running, 2 wrong usage or input, 130 Ctrl-C, 143
        SIGTERM.

    Example:
        >>> main(["fit", "no_such_model"])
        2
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        # In a process of its own; who calls this function keeps the backend of their choice.
        mpl.use("agg")
        # Adds --print_completion, which writes the shell's completion where shtab is installed.
        set_parsing_settings(add_print_completion_argument=True)
    try:
        _check_config(given)
        options = make_parser().parse_args(given)
        with terminable():
            return _run(options["command"], options[options["command"]])
    except KeyboardInterrupt as interrupt:
        return _stopped(interrupt, given)
    except BrokenPipeError:
        # The reader of the output, such as `head`, has left: nothing to say, nobody to tell.
        return OK
    except _WRONG_INPUT as error:
        return _report(error, WRONG_INPUT, given)
    except Exception as error:
        return _report(error, FAILED, given)


def make_parser() -> ArgumentParser:
    """The parser of all commands.

    Example:
        >>> make_parser().parse_args(["fit", "digits", "--seed=3"])["fit"]["seed"]
        3
    """
    parser = ArgumentParser(
        prog="lvkam",
        description="The Latent Variable KAN: train, weigh, compare.",
        # Subcommands take it from here.
        formatter_class=_HelpFormatter,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode="toml",
    )
    parser.add_argument("--version", action="version", version=f"lvkam_pyro {__version__}")
    commands = parser.add_subcommands(required=True, dest="command")
    for name, function in _COMMANDS.items():
        help_text = description_of(function)
        commands.add_subcommand(name, command_parser(function), help=help_text)
    return parser


class _HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Leaves the lines of the examples as they are."""


def _run(command: str, options: Namespace) -> int:
    own = {"config", "debug", "threads"}
    values = {key: value for key, value in options.as_dict().items() if key not in own}
    if "threads" in options:
        torch.set_num_threads(check_count("--threads", options["threads"]))
        values["device"] = check_device(local_device(options["device"]))
    _check_seed(options.get("seed", 0))
    device = values.get("device", "cpu")
    with joined_processes(command, device), pyro.get_param_store().scope():
        text = _COMMANDS[command](**values)
    if is_first():
        print(text)
    return OK


def _check_seed(seed: int) -> None:
    """NumPy and scikit-learn, which the model programs may use, take seeds of 32 bits."""
    if check_count("--seed", seed, minimum=0) >= 2**32:
        raise ValueError(f"Expected --seed < 2^32 = {2**32}, but got {seed}. Pass a smaller one.")


def _check_config(arguments: Sequence[str]) -> None:
    """The parser takes a missing settings file for the settings themselves."""
    values = [text.removeprefix("--config=") for text in arguments if text.startswith("--config=")]
    values += [value for flag, value in pairwise(arguments) if flag == "--config"]
    for value in values:
        if not Path(value).is_file():
            raise FileNotFoundError(f"There is no settings file {value}.")


def _report(error: Exception, code: int, arguments: Sequence[str]) -> int:
    if "--debug" in arguments:
        raise error
    return _say(f"error: {_one_line(error)}", code)


def _one_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{error.filename}: {error.strerror}"
    text = " ".join(str(error).split())
    if isinstance(error, ArgumentError):
        return f"{text}. See lvkam --help, or lvkam COMMAND --help."
    known = isinstance(error, _WRONG_INPUT) or type(error).__module__.startswith("lvkam_pyro")
    return text if known else f"{type(error).__name__}: {text} (--debug shows where)"


def _stopped(interrupt: KeyboardInterrupt, arguments: Sequence[str]) -> int:
    """Says what is kept, and returns the exit code that shells give the signal."""
    kept = str(interrupt) if isinstance(interrupt, Interrupted) else _how_to_go_on(arguments)
    is_terminated = isinstance(interrupt, Terminated) or isinstance(interrupt.__cause__, Terminated)
    word, code = ("terminated", TERMINATED) if is_terminated else ("interrupted", INTERRUPTED)
    return _say(f"{word}. {kept}".rstrip(), code)


def _say(text: str, code: int) -> int:
    # Of several processes all are given the same input, but each may fail for a reason of its own.
    if is_first() or code == FAILED:
        print(f"{_name()}: {text}", file=sys.stderr)
    return code


def _name() -> str:
    return "lvkam" if is_first() else f"lvkam, process {os.environ['RANK']}"


def _how_to_go_on(arguments: Sequence[str]) -> str:
    if not {"fit", "resume"} & set(arguments):
        return ""
    again = [argument for argument in arguments if argument not in {"--overwrite", "--resume"}]
    flag = " --resume" if "fit" in arguments else ""
    return f"Whole epochs are kept; go on by: lvkam {shlex.join(again)}{flag}"


if __name__ == "__main__":
    leave(main())
