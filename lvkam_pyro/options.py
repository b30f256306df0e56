"""Checks of the options of public functions, and the name that somebody may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral


def check_count(name: str, value: object, *, minimum: int = 1) -> int:
    """An integer option that counts something.

    Args:
        name: The option's name, for the message.
        value: What the caller gave.
        minimum: The least value that makes sense.

    Returns:
        The same integer.

    Raises:
        TypeError: If `value` is no integer.
        ValueError: If it is below `minimum`.

    Example:
        >>> check_count("num_particles", 8)
        8
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"Expected {name} to be an integer, but got {value!r}.")
    if value < minimum:
        raise ValueError(f"Expected {name} >= {minimum}, but got {value}. Pass a larger {name}.")
    return int(value)


def check_share(name: str, value: object) -> float:
    """An option that is a share of something: above 0 and below 1.

    Args:
        name: The option's name, for the message.
        value: What the caller gave.

    Returns:
        The same number.

    Raises:
        TypeError: If `value` is no number.
        ValueError: If it is not strictly between 0 and 1.

    Example:
        >>> check_share("target_acceptance", 0.8)
        0.8
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError(f"Expected {name} to be a number, but got {value!r}.")
    if not 0 < value < 1:
        raise ValueError(f"Expected {name} between 0 and 1, but got {value}.")
    return value


def suggestion(name: str, choices: Iterable[str]) -> str:
    """A question to put into an error about an unknown name.

    Args:
        name: What was given.
        choices: The names that there are.

    Returns:
        `" Did you mean 'width'?"`, or nothing where no name is near.

    Example:
        >>> suggestion("digit", ["digits", "rings"]), suggestion("penguins", ["rings"])
        (" Did you mean 'digits'?", '')
    """
    near = get_close_matches(name, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
