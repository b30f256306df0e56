"""A data frame of texts as lines to read: the one way in which results print tables."""

from collections.abc import Collection

from pandas import DataFrame


def text_table(frame: DataFrame, *, left: Collection[str], gap: int = 2) -> str:
    """The lines of a table, without its index: words to the left, numbers to the right.

    Args:
        frame: Cells that are texts, under different names.
        left: The columns whose cells begin at the left.
        gap: Spaces between columns.

    Returns:
        A line of names and a line a row.

    Example:
        >>> print(text_table(DataFrame({"latent": ["z[0]"], "p": ["0.50"]}), left=["latent"]))
        latent     p
        z[0]    0.50
    """
    columns = {}
    for index, (name, cells) in enumerate(frame.items()):
        texts = [str(name), *cells]
        width = max(map(len, texts))
        aligned = [text.ljust(width) if name in left else text.rjust(width) for text in texts]
        columns[index] = [" " * (gap - 1) * (index > 0) + text for text in aligned]
    lines = DataFrame(columns).to_string(index=False, header=False).splitlines()
    return "\n".join(line.rstrip() for line in lines)
