"""Formulas as MathML, made while the pages are: no script and no network is needed to read them."""

import re
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

# What docutils' converter does not know, in terms of what it does.
_KNOWN_AS = {
    r"\\(big|Big|bigg|Bigg)(?=\s*[)\]])": r"\\\1r",
    r"\\(big|Big|bigg|Bigg)(?![a-zA-Z])": r"\\\1l",
    r"\\dots(?![a-zA-Z])": r"\\ldots",
    # A half: TeX takes one digit, the converter both.
    r"\\([td]?frac)\s*(\d)(\d)": r"\\\1{\2}{\3}",
    # An index of an accented letter stands beside it, not below.
    r"\\(tilde|hat|bar)\s*(\{[^{}]*\}|\\[a-zA-Z]+|[a-zA-Z])(?=[_^])": r"{{}\\\1 \2}",
    r"\\operatorname\*\{arg(min|max)\}": r"\\arg\\\1",
    # TeX's thin space between a function and an argument without brackets.
    r"\\(log|exp|cos|sin|tanh)(?=\s*(?:\w|\\(?!left|big|Big|,)))(?![a-zA-Z])": r"\\\1\\,",
}

_NUM_PARTS = {
    **dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}

_logger = logging.getLogger(__name__)


def to_mathml(tex: str, *, display: bool) -> str:
    """The formula as a `<math>` element.

    Raises:
        ExtensionError: If the converter does not know a command, or loses its place.
    """
    for pattern, known in _KNOWN_AS.items():
        tex = re.sub(pattern, known, tex)
    try:
        math = latex2mathml.tex2mathml(tex, as_block=display)
    except (latex2mathml.MathError, SyntaxError) as error:
        raise ExtensionError(f"No MathML for {tex!r}: {error}") from error
    # HTML's entities are not XML's, and not structure.
    for element in ElementTree.fromstring(re.sub(r"&\w+;", "", math)).iter():
        name = element.tag.rpartition("}")[2]
        if len(element) != _NUM_PARTS.get(name, len(element)):
            raise ExtensionError(f"A broken {name} in the MathML of {tex!r}: pair its brackets.")
    return math


def _visit(translator: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    display = isinstance(node, nodes.math_block)
    try:
        math = to_mathml(node.astext(), display=display)
    except ExtensionError as error:
        _logger.warning("%s", error, location=node)
        math = f"<code>{translator.encode(node.astext())}</code>"
    translator.body.append(f'<div class="math">{math}</div>' if display else math)
    raise nodes.SkipNode


def setup(app: Sphinx) -> ExtensionMetadata:
    """Adds the renderer `mathml`."""
    app.add_html_math_renderer("mathml", (_visit, None), (_visit, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
