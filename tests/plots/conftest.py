"""Pictures are drawn in memory."""

from collections.abc import Iterator

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def drawn_in_memory() -> Iterator[None]:
    """No display is asked for; the figures are closed after every test of the project."""
    with mpl.rc_context({"backend": "agg"}):
        yield
