"""The parser of a command, from its function's signature; and which program an option is for."""

from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter, signature
from typing import Any, get_origin

from docstring_parser import Docstring, DocstringStyle, parse
from jsonargparse import ArgumentParser

from lvkam_pyro.options import suggestion
from lvkam_pyro.programs import Program, ProgramError

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


Options = dict[str, str]


def assign(assignments: Sequence[str], programs: Mapping[str, Program]) -> dict[str, Options]:
    """Gives each `key=value` to the programs that have the option.

    A key may be prefixed by whom it is for: `model.num_latents=8`, `inference.num_epochs=5`, or the
    name of one recipe, `thermodynamic.num_chains=8`. Without a prefix it goes to the model or to
    every recipe that has it; if both have it, the prefix is needed.

    Args:
        assignments: Texts `key=value`.
        programs: Label to program: `"model"`, and one label a recipe.

    Returns:
        Label to the options that it was given.

    Raises:
        ProgramError: If a text is no assignment, or its key is unknown or ambiguous.

    Example:
        >>> from lvkam_pyro.programs import load_program
        >>> assign(["num_latents=3"], {"model": load_program("model", "two_moons")})
        {'model': {'num_latents': '3'}}
    """
    given: dict[str, Options] = {label: {} for label in programs}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals or not key:
            raise ProgramError(
                f"--set takes key=value, for instance num_epochs=5; got {assignment!r}."
            )
        prefix, _, option = key.rpartition(".")
        for label in _owners(prefix, option, programs):
            given[label][option] = value
    return given


def _owners(prefix: str, option: str, programs: Mapping[str, Program]) -> list[str]:
    addressed = [label for label in programs if _is_addressed(label, prefix)]
    if not addressed:
        raise ProgramError(f"There is no {prefix!r} here; write {_labels(programs)}.")
    owners = [label for label in addressed if option in programs[label].options()]
    if not owners:
        choices = "; ".join(_describe(programs[label]) for label in addressed)
        known = [name for label in addressed for name in programs[label].options()]
        near = suggestion(option, known)
        raise ProgramError(f"No option is called {option!r}.{near} There are: {choices}.")
    if "model" in owners and len(owners) > 1:
        raise ProgramError(
            f"The model and the inference both have an option {option!r}: write model.{option}=... "
            f"or inference.{option}=..."
        )
    return owners


def _is_addressed(label: str, prefix: str) -> bool:
    return prefix in {"", label} or (prefix == "inference" and label != "model")


def _labels(programs: Mapping[str, Program]) -> str:
    return " or ".join(
        f"{label}.KEY=VALUE" for label in dict.fromkeys(["model", "inference", *programs])
    )


def _describe(program: Program) -> str:
    options = ", ".join(f"{name}={default!r}" for name, default in program.options().items())
    return f"{program.kind} {program.name}: {options}"
