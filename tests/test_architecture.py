"""The house of the library, read from its files: who imports whom, what is documented, how long."""

import ast
import inspect
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import lvkam_pyro

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lvkam_pyro"
ROOMS = [
    "options",
    "statistics",
    "kan",
    "distributions",
    "likelihoods",
    "modules",
    "lvkam",
    "tracing",
    "additive",
    "ladder",
    "guides",
    "evidence",
    "comparison",
    "problems",
    "training",
    "arviz",
    "checks",
    "plots",
    "report",
    "programs",
    "commands",
    "cli",
]
MAX_FILES = 25
MAX_LINES = 400
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PROGRAMS = sorted(path for room in ("models", "inference") for path in (ROOT / room).glob("*.py"))
OURS = sorted(
    path
    for folder in ("lvkam_pyro", "models", "inference", "tests", "benchmarks", "notebooks")
    for path in (ROOT / folder).rglob("*.py*")
    if path.suffix in {".py", ".pyi"}
)

Function = ast.FunctionDef | ast.AsyncFunctionDef
Definition = Function | ast.ClassDef


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports; `from a import b` gives `a.b`."""
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_files(path: Path) -> set[str]:
    """The files of the library that a file imports."""
    known = {name_of(file) for file in FILES}
    found = {name for name in imported(path) if name.startswith("lvkam_pyro.")}
    return {name if name in known else name.rpartition(".")[0] for name in found} & known


def room_of(name: str) -> str:
    return name.split(".")[1]


def is_public(node: ast.AST) -> bool:
    return isinstance(node, Definition) and not node.name.startswith("_")


def needs_no_docstring(node: Definition) -> bool:
    """A setter or an overload is documented by the definition that it belongs to."""
    decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
    return bool(decorators & {"setter", "overload"})


def public_definitions(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, Definition]]:
    for node in body:
        if not isinstance(node, Definition) or not is_public(node):
            continue
        yield f"{prefix}.{node.name}", node
        if isinstance(node, ast.ClassDef):
            yield from public_definitions(node.body, f"{prefix}.{node.name}")


def function_of(path: Path, name: str) -> Function:
    found = [n for n in tree_of(path).body if isinstance(n, Function) and n.name == name]
    assert found, f"{path.name} has no function {name}"
    return found[0]


def by_name(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


@by_name(FILES)
def test_file_has_a_room_and_imports_only_rooms_above(path: Path) -> None:
    own = room_of(name_of(path))
    assert own in ROOMS, f"{name_of(path)} stands outside every room"
    below = [n for n in imported_files(path) if ROOMS.index(room_of(n)) > ROOMS.index(own)]
    assert not below, f"{name_of(path)} imports from rooms below: {below}"


def test_kan_and_distributions_do_not_know_each_other() -> None:
    for path in FILES:
        if room_of(name_of(path)) == "distributions":
            assert "kan" not in map(room_of, imported_files(path)), name_of(path)


def test_kan_is_torch_without_probability() -> None:
    for path in FILES:
        if room_of(name_of(path)) == "kan":
            assert "pyro" not in {name.split(".")[0] for name in imported(path)}, name_of(path)


def test_files_import_each_other_without_a_cycle() -> None:
    imports = {name_of(path): imported_files(path) for path in FILES}
    # Raises CycleError where there is no order.
    assert set(TopologicalSorter(imports).static_order()) >= set(imports)


@by_name(FILES + PROGRAMS)
def test_no_import_inside_a_function(path: Path) -> None:
    functions = [node for node in ast.walk(tree_of(path)) if isinstance(node, Function)]
    hidden = [
        f"{function.name}, line {node.lineno}"
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert not hidden, hidden


@by_name(FILES)
def test_library_imports_no_program(path: Path) -> None:
    outside = {"models", "inference", "tests", "benchmarks", "notebooks", "lvkam_pyro.bundled"}
    assert not [n for n in imported(path) if n.split(".")[0] in outside or "bundled" in n]


INITS = sorted(path for path in PACKAGE.rglob("__init__.py"))


@by_name(INITS)
def test_init_introduces_its_room_and_hands_on_the_names_of_the_stub(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"
    lines = [ast.unparse(node) for node in tree_of(path).body[1:]]
    attach = "__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)"
    stub = path.with_suffix(".pyi")
    expected = ["import lazy_loader", attach] if stub.exists() else []
    assert lines[:2] == expected
    assert all(line.startswith("__version__") for line in lines[2:])


@by_name(INITS)
def test_room_is_no_crowd(path: Path) -> None:
    files = [file for file in path.parent.glob("*.py") if file.name != "__init__.py"]
    assert len(files) <= MAX_FILES, f"{name_of(path)} has {len(files)} files"


@by_name(FILES)
def test_underscore_file_is_touched_by_its_own_room_alone(path: Path) -> None:
    private = [n for n in imported_files(path) if n.rpartition(".")[2].startswith("_")]
    own = name_of(path).rpartition(".")[0]
    assert not [n for n in private if n.rpartition(".")[0] != own], private


@by_name(FILES + PROGRAMS)
def test_every_public_definition_is_documented(path: Path) -> None:
    assert ast.get_docstring(tree_of(path)), f"{name_of(path)} has no docstring"
    missing = [
        name
        for name, node in public_definitions(tree_of(path).body, name_of(path))
        if not needs_no_docstring(node) and not ast.get_docstring(node)
    ]
    assert not missing, missing


def test_no_file_is_long() -> None:
    lengths = {name_of(path): len(path.read_text("utf-8").splitlines()) for path in OURS}
    assert not {name: length for name, length in lengths.items() if length > MAX_LINES}


NAMESPACES = [lvkam_pyro, *(getattr(lvkam_pyro, room) for room in ROOMS if room in dir(lvkam_pyro))]
PUBLIC = [
    (f"{space.__name__.removeprefix('lvkam_pyro.')}.{name}", getattr(space, name))
    for space in NAMESPACES
    for name in getattr(space, "__all__", ())
]


@pytest.mark.parametrize(("name", "value"), PUBLIC, ids=[name for name, _ in PUBLIC])
def test_public_name_is_documented_with_an_example(name: str, value: object) -> None:
    if not inspect.ismodule(value):
        assert ">>>" in (inspect.getdoc(value) or ""), f"{name} has no runnable example"


def test_public_names_at_the_top_are_few() -> None:
    names = [n for n in lvkam_pyro.__all__ if not inspect.ismodule(getattr(lvkam_pyro, n))]
    assert len(names) <= 40


def test_unknown_name_is_refused_and_python_can_suggest_one() -> None:
    code = "import lvkam_pyro; lvkam_pyro.KANLayers"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert "AttributeError: No lvkam_pyro attribute KANLayers. Did you mean: 'KANLayer'?" in (
        done.stderr
    )


def test_import_of_the_library_is_light() -> None:
    code = "import sys, lvkam_pyro; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert not {"arviz", "matplotlib", "sklearn"} & set(done.stdout.split())


@by_name(PROGRAMS)
def test_program_is_built_by_keywords(path: Path) -> None:
    arguments = function_of(path, "build").args
    assert not arguments.args
    assert not arguments.posonlyargs
    assert all(argument.annotation for argument in arguments.kwonlyargs)


@by_name([path for path in PROGRAMS if path.parent.name == "models"])
def test_model_program_loads_its_data_from_a_seed(path: Path) -> None:
    arguments = function_of(path, "load_data").args
    assert not arguments.args
    assert "seed" in [argument.arg for argument in arguments.kwonlyargs]
