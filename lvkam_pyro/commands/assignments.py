"""`--set key=value`: which program an option is for."""

from collections.abc import Mapping, Sequence

from lvkam_pyro.options import suggestion
from lvkam_pyro.programs import Program, ProgramError

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
