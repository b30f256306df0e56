"""The name that somebody may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


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
