"""The reference of the public names, and a link wherever a page mentions one.

A room's page holds the directive `public-names` with the room's name, the index holds `top-names`:
what `lvkam_pyro` and its rooms hand on appears there by itself. A name that stands at the top and
in a room is one thing, documented on the room's page. A public name that no page documents is a
warning, and so is a reference to a thing that does not exist.
"""

import importlib
import inspect
import re
import sys
from functools import cache

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
_MENTION = re.compile(r"(?P<lv>lv\.)?(?P<path>\w+(\.\w+)*)(?P<call>\(.*\))?", re.DOTALL)

_logger = logging.getLogger(__name__)


def rooms() -> list[str]:
    """The rooms: what is a module at the top, and the file of the ready-made models."""
    names = [name for name in lvkam_pyro.__all__ if inspect.ismodule(getattr(lvkam_pyro, name))]
    return [*names, "lvkam"]


def names_of(room: str) -> list[str]:
    """The public names of a room: its `__all__`, or what a room of one file defines."""
    module = importlib.import_module(f"lvkam_pyro.{room}")
    if hasattr(module, "__path__"):
        return list(getattr(module, "__all__", ()))
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]


def top_names() -> list[str]:
    """The names at the top that are no rooms."""
    return [n for n in lvkam_pyro.__all__ if not inspect.ismodule(getattr(lvkam_pyro, n))]


def entry_of(room: str, name: str) -> str:
    """Where a room's name is documented, after `lvkam_pyro.`: at the top, if it is there too."""
    value = getattr(importlib.import_module(f"lvkam_pyro.{room}"), name)
    is_at_top = name in lvkam_pyro.__all__ and getattr(lvkam_pyro, name) is value
    return name if is_at_top else f"{room}.{name}"


@cache
def entries() -> dict[str, str]:
    """What can be written of each public name, `X` or `room.X`, to where it is documented.

    Where two rooms use a word, `X` alone is that of the room above: a plot is `plots.X`.
    """
    order = [*(room for room in rooms() if room != "plots"), "plots"]
    found = {name: name for name in top_names()}
    for room in order:
        for name in names_of(room):
            found[f"{room}.{name}"] = entry_of(room, name)
            found.setdefault(name, entry_of(room, name))
    return found


class PublicNames(SphinxDirective):
    """A table of a room's public names, then the documentation of each."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Lets autodoc do it."""
        room = self.arguments[0]
        found = sorted((entry_of(room, name) for name in names_of(room)), key=str.lower)
        if not found:
            raise self.error(f"The room {room!r} has no public name.")
        self.env.note_dependency(str(importlib.import_module(f"lvkam_pyro.{room}").__file__))
        return self.parse_text_to_nodes("\n".join([*_table(found), "", *map(_entry, found)]))


class TopNames(SphinxDirective):
    """A table of the names at the top."""

    def run(self) -> list[nodes.Node]:
        """Lets autosummary do it."""
        self.env.note_dependency(str(lvkam_pyro.__file__))
        return self.parse_text_to_nodes("\n".join(_table(sorted(top_names(), key=str.lower))))


def _table(names: list[str]) -> list[str]:
    head = [".. currentmodule:: lvkam_pyro", "", ".. autosummary::", "   :nosignatures:", ""]
    return [*head, *(f"   {name}" for name in names)]


def _entry(name: str) -> str:
    value: object = lvkam_pyro
    for part in name.split("."):
        value = getattr(value, part)
    kind = "autodata"
    if callable(value):
        kind = "autoclass" if inspect.isclass(value) else "autofunction"
    return f".. {kind}:: lvkam_pyro.{name}\n"


class LinkMentions(SphinxTransform):
    """Turns code that is a public name, such as `KANLayer` or `lv.fit(...)`, into a link.

    What begins with `lv.` has to exist. A name in lower case and without an underscore is a plain
    word too: only with a room in front or its arguments behind does it mean the function.
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
    if not match:
        return None
    path = match["path"].split(".")
    for length in (2, 1):
        name = ".".join(path[:length])
        if name in entries() and (match["lv"] or length == 2 or _is_clear(match, name)):
            return ".".join(["lvkam_pyro", entries()[name], *path[length:]])
    return f"lvkam_pyro.{match['path']}" if match["lv"] else None


def _is_clear(match: re.Match[str], name: str) -> bool:
    """Whether a name alone is no plain word."""
    is_word = name.islower() and "_" not in name
    return not is_word or (match["path"] == name and match["call"] is not None)


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
    for name in sorted(set(entries().values())):
        if f"lvkam_pyro.{name}" not in documented:
            _logger.warning("The public name %s is on no page of the reference.", name)


def setup(app: Sphinx) -> ExtensionMetadata:
    """Adds the directive, the links and the checks."""
    app.add_directive("public-names", PublicNames)
    app.add_directive("top-names", TopNames)
    app.add_transform(LinkMentions)
    # 500 is napoleon's own, which comes after.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=400)
    app.connect("missing-reference", find_elsewhere)
    app.connect("env-check-consistency", check_completeness)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
