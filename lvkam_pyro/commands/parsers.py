"""The parser of a command, from the signature and the docstring of its function."""

from collections.abc import Callable, Sequence
from inspect import Parameter, signature
from typing import Any, get_origin

from docstring_parser import Docstring, DocstringStyle, parse
from jsonargparse import ArgumentParser

_EXIT_CODES = """

exit codes: 0 done, 1 failed while running, 2 wrong usage or input,
130 stopped by Ctrl-C, 143 by SIGTERM"""


def examples_of(function: Callable[..., str]) -> list[str]:
    """The command lines at the end of a command's docstring; all of them parse, a test says."""
    examples = (example.description or "" for example in _docstring(function).examples)
    return [line.strip() for example in examples for line in example.splitlines()]


def command_parser(function: Callable[..., str]) -> ArgumentParser:
    """The parser of a command: an argument for each of its function's.

    One without a default is given by its place, the others by flags: `num_data` by `--num-data`, a
    truth value by its flag alone, several texts after one flag. What `assignments` holds comes from
    `--set KEY=VALUE ...`, which can be given several times. Commands that compute also take
    `--config` and `--threads`.

    Args:
        function: What it runs, whose docstring has the help and the examples.

    Example:
        >>> def greet(name: str, *, num_times: int = 1) -> str:
        ...     return num_times * name
        >>> command_parser(greet).parse_args(["you", "--num-times=2"]).as_dict()
        {'debug': False, 'name': 'you', 'num_times': 2}
    """
    parser = ArgumentParser(
        description=description_of(function),
        epilog="\n  ".join(["examples:", *examples_of(function)]) + _EXIT_CODES,
        exit_on_error=False,
        allow_abbrev=False,
        parser_mode="toml",
    )
    parameters = signature(function).parameters.values()
    helps = {one.arg_name: one.description for one in _docstring(function).params}
    parser.add_argument("--debug", action="store_true", help="Show the traceback of an error.")
    if any(parameter.name == "device" for parameter in parameters):
        parser.add_argument("--config", action="config", help="A .toml file of these settings.")
        parser.add_argument("--threads", type=int, default=1, help="Of torch; one is best here.")
    for parameter in parameters:
        flag, options = _argument(parameter)
        parser.add_argument(flag, help=helps.get(parameter.name), **options)
    return parser


def description_of(function: Callable[..., str]) -> str:
    """The first line of a command's docstring.

    Example:
        >>> description_of(command_parser)
        "The parser of a command: an argument for each of its function's."
    """
    return _docstring(function).short_description or ""


def _docstring(function: Callable[..., str]) -> Docstring:
    return parse(function.__doc__ or "", style=DocstringStyle.GOOGLE)


def _argument(parameter: Parameter) -> tuple[str, dict[str, Any]]:
    """The name or flag of an argument, and its options."""
    kind, default = parameter.annotation, parameter.default
    if parameter.name == "assignments":
        several = {"type": str, "nargs": "+", "action": "extend", "default": []}
        return "--set", {"dest": parameter.name, "metavar": "KEY=VALUE", **several}
    if kind is bool:
        return _flag(parameter), {"action": "store_true"}
    is_list = get_origin(kind) is Sequence
    options: dict[str, Any] = {"type": str, "nargs": "+"} if is_list else {"type": kind}
    if default is Parameter.empty:
        return parameter.name, options
    return _flag(parameter), {**options, "default": list(default) if is_list else default}


def _flag(parameter: Parameter) -> str:
    return f"--{parameter.name.replace('_', '-')}"
