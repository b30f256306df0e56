"""The `lvkam` command: its arguments, and what it says and returns when something is wrong."""

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
from lvkam_pyro.commands.examples import examples_of
from lvkam_pyro.commands.fit import fit_command, resume_command
from lvkam_pyro.commands.interrupts import Interrupted, Terminated, terminable
from lvkam_pyro.commands.new import new_command
from lvkam_pyro.commands.sample import sample_command
from lvkam_pyro.commands.setup import check_device
from lvkam_pyro.commands.torchrun import is_first, joined_processes, leave, local_device
from lvkam_pyro.commands.validate import validate_command
from lvkam_pyro.tracing.arguments import check_count

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
    commands.add_subcommand("fit", _fit_parser(), help="train a model by a recipe")
    commands.add_subcommand("resume", _resume_parser(), help="go on with a run that was stopped")
    commands.add_subcommand("evidence", _evidence_parser(), help="estimate a run's evidence")
    commands.add_subcommand("compare", _compare_parser(), help="the evidence by several recipes")
    commands.add_subcommand("sample", _sample_parser(), help="draw data from a run's model")
    commands.add_subcommand("diagnose", _diagnose_parser(), help="posterior, and what is wrong")
    commands.add_subcommand("new", _new_parser(), help="a project with programs of one's own")
    commands.add_subcommand("validate", _validate_parser(), help="estimators on known evidence")
    return parser


class _HelpFormatter(RawDescriptionHelpFormatter, DefaultHelpFormatter):
    """Leaves the lines of the examples as they are."""


def _bare_parser(command: str, description: str) -> ArgumentParser:
    parser = ArgumentParser(
        description=description,
        epilog=examples_of(command),
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode="toml",
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _common_parser(command: str, description: str) -> ArgumentParser:
    parser = _bare_parser(command, description)
    parser.add_argument("--config", action="config", help="a .toml file of these settings")
    parser.add_argument("--threads", type=int, default=1, help="of torch; one is best here")
    parser.add_argument("--device", type=str, default="cpu", help="as torch names it: cpu, cuda")
    return parser


def _seeded_parser(command: str, description: str) -> ArgumentParser:
    parser = _common_parser(command, description)
    parser.add_argument("--seed", type=int, default=0, help="of everything random")
    return parser


def _fit_parser() -> ArgumentParser:
    parser = _seeded_parser("fit", "Trains a model by a recipe, and keeps the run in a folder.")
    parser.add_argument("model", type=str, help="a model program: name, or path of a .py file")
    parser.add_argument("--inference", type=str, default="amortized", help="a recipe, likewise")
    _add_set(parser)
    parser.add_argument(
        "--data", type=Path | None, default=None, help="own data: .npy, .npz, .csv, .parquet"
    )
    parser.add_argument("--out", type=Path | None, default=None, help="folder; else runs/MODEL")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="remove the folder's old run")
    text = "check everything, print the settings, and train nothing"
    parser.add_argument("--dry-run", action="store_true", help=text)
    return parser


def _resume_parser() -> ArgumentParser:
    parser = _common_parser("resume", "Goes on with a run that was stopped, bit for bit.")
    _add_run(parser)
    return parser


def _new_parser() -> ArgumentParser:
    parser = _bare_parser("new", "Makes a project: a model and a recipe to change, and a test.")
    parser.add_argument("folder", type=Path, help="a new folder")
    parser.add_argument("--model", type=str, default="two_moons", help="the model to begin with")
    text = "the recipe to begin with"
    parser.add_argument("--inference", type=str, default="amortized", help=text)
    return parser


def _evidence_parser() -> ArgumentParser:
    parser = _seeded_parser(
        "evidence", "Estimates the evidence of held-out data by the run's own recipe."
    )
    _add_run(parser)
    _add_num_data(parser)
    return parser


def _compare_parser() -> ArgumentParser:
    parser = _seeded_parser(
        "compare", "Estimates the evidence of held-out data by several recipes."
    )
    text = "models, whose runs are in runs/MODEL, or run folders"
    parser.add_argument("models", type=str, nargs="+", help=text)
    parser.add_argument("--run", type=Path | None, default=None, help="another run of one model")
    text = "folder of tables and pictures; else that of the one run"
    parser.add_argument("--out", type=Path | None, default=None, help=text)
    recipes = ["amortized", "thermodynamic", "elbo"]
    parser.add_argument("--inference", type=str, nargs="+", default=recipes, help="recipes")
    _add_set(parser)
    _add_num_data(parser)
    return parser


def _sample_parser() -> ArgumentParser:
    parser = _seeded_parser("sample", "Draws data from the model of a run.")
    _add_run(parser)
    parser.add_argument("--num-samples", type=int, default=1000, help="how many")
    return parser


def _diagnose_parser() -> ArgumentParser:
    parser = _seeded_parser(
        "diagnose", "Draws the posterior of held-out data and says what is wrong."
    )
    _add_run(parser)
    _add_num_data(parser, default=20)
    return parser


def _validate_parser() -> ArgumentParser:
    parser = _seeded_parser(
        "validate", "Runs estimators on problems whose evidence is known exactly."
    )
    for name in ("problems", "estimators"):
        parser.add_argument(f"--{name}", type=str, nargs="+", default=[], help="names; else all")
    parser.add_argument("--num-seeds", type=int, default=1, help="runs of each")
    parser.add_argument("--out", type=Path | None, default=None, help="a Markdown file to write")
    return parser


def _add_run(parser: ArgumentParser) -> None:
    parser.add_argument("run", type=str, help="a run folder, or a model whose run is runs/MODEL")


def _add_set(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--set", dest="assignments", metavar="KEY=VALUE", type=str, nargs="+", action="extend",
        default=[], help="options of the model and the recipe",
    )  # fmt: skip


def _add_num_data(parser: ArgumentParser, default: int | None = None) -> None:
    text = "use only the first of the held-out data"
    parser.add_argument("--num-data", type=int | None, default=default, help=text)


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
