"""The reference of the public names, and a link wherever a page mentions one.

A room's page holds the directive `public-names` with the room's name: what `lvkam_pyro` exports
from there appears by itself. A public name that no page documents is a warning, and so is a
reference to a thing that does not exist.
"""

import importlib
import inspect
import re
import sys

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

import lvkam_pyro

_LETTER = re.compile(r"^(\s+\w+: [A-Z])\.")
_MENTION = re.compile(r"(?P<lv>lv\.)?(?P<name>\w+)(?P<member>\.\w+)*(?P<call>\(.*\))?", re.DOTALL)

_logger = logging.getLogger(__name__)


def names_of(room: str) -> list[str]:
    """The public names that a room defines."""
    return [n for n, home in sorted(lvkam_pyro._HOME.items()) if home.split(".")[0] == room]


class PublicNames(SphinxDirective):
    """A table of a room's public names, then the documentation of each."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Lets autodoc do it."""
        names = names_of(self.arguments[0])
        if not names:
            raise self.error(f"No public name is from the room {self.arguments[0]!r}.")
        self.env.note_dependency(str(lvkam_pyro.__file__))
        table = [".. currentmodule:: lvkam_pyro", "", ".. autosummary::", "   :nosignatures:", ""]
        lines = [*table, *(f"   {name}" for name in names), "", *map(_entry, names)]
        return self.parse_text_to_nodes("\n".join(lines))


def _entry(name: str) -> str:
    kind = "autoclass" if inspect.isclass(getattr(lvkam_pyro, name)) else "autofunction"
    return f".. {kind}:: lvkam_pyro.{name}\n"


class LinkMentions(SphinxTransform):
    """Turns code that is a public name, such as `KANLayer` or `lv.fit(...)`, into a link.

    What begins with `lv.` has to exist. A name in lower case and without an underscore is a plain
    word too: only with `lv.` in front or its arguments behind does it mean the function.
    """

    default_priority = 5  # before references are resolved

    def apply(self, **_: object) -> None:
        """Wraps the literals of one page."""
        for literal in list(self.document.findall(nodes.literal)):
            target = public_target(literal.astext())
            if target and not isinstance(literal.parent, nodes.reference | pending_xref):
                link = pending_xref(refdomain="py", reftype="obj", reftarget=target)
                link.source, link.line = literal.source, literal.line
                literal.replace_self(link)
                link += literal


def public_target(text: str) -> str | None:
    """The full name of what a piece of code mentions, or None if that is nothing public."""
    match = _MENTION.fullmatch(text)
    if not match or not (match["lv"] or _is_public(match)):
        return None
    return "lvkam_pyro." + text.removeprefix("lv.").partition("(")[0]


def _is_public(match: re.Match[str]) -> bool:
    name = match["name"]
    is_word = name.islower() and "_" not in name
    return name in lvkam_pyro.__all__ and not (is_word and (match["member"] or not match["call"]))


def find_elsewhere(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    """Leaves a reference without a link, and without a warning, if what it names exists.

    Other libraries' names are given in full, our own may be those of any file.
    """
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or not target:
        return None
    homes = sorted(name for name in sys.modules if name.startswith("lvkam_pyro."))
    names = [target, *(f"{home}.{target}" for home in homes)]
    return content if any(map(exists, names)) else None


def exists(name: str) -> bool:
    """Whether Python can import what a dotted name means."""
    parts = name.split(".")
    for split in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:split]))
        except (ImportError, ValueError):
            continue
        return _has_path(value, parts[split:])
    return False


def _has_path(value: object, path: list[str]) -> bool:
    for part in path:
        fields = getattr(value, "__dataclass_fields__", {})
        if not hasattr(value, part) and part not in fields:
            return False
        value = getattr(value, part, None)
    return True


def prepare_docstring(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keeps text from being read as something else.

    Napoleon reads what stands before a colon at the beginning of a property or of `Returns:` as a
    type, but not where that is nothing. And an argument that is "T." alone is no item of a list.
    """
    first = [0] if what == "property" and lines else []
    for number in [*first, *(i + 1 for i, line in enumerate(lines) if line.strip() == "Returns:")]:
        text = lines[number].lstrip()
        indent = lines[number].removesuffix(text)
        lines[number] = f"{indent}: {text}"
    lines[:] = [_LETTER.sub(r"\1\\.", line) for line in lines]


def check_completeness(app: Sphinx, env: BuildEnvironment) -> None:
    """Warns of public names that are on no page."""
    documented = env.domains.python_domain.objects
    for name in lvkam_pyro.__all__:
        if f"lvkam_pyro.{name}" not in documented:
            _logger.warning("The public name %s is on no page of the reference.", name)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Adds the directive, the links and the checks."""
    app.add_directive("public-names", PublicNames)
    app.add_transform(LinkMentions)
    # 500 is napoleon's own, which comes after.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("missing-reference", find_elsewhere)
    app.connect("env-check-consistency", check_completeness)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
