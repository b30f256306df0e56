"""A short name of all that a program's results depend on: equal in another process."""

import dis
import hashlib
import importlib
import importlib.metadata
import inspect
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from functools import _lru_cache_wrapper, cache, cached_property
from pathlib import Path
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
)
from typing import Any

import torch
from torch import Tensor, nn

_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...), type(NotImplemented))

_KEPT_BY_MODULES = {"_parameters", "_buffers", "_modules", "training"}
_HOOKS = ("_forward_pre_hooks", "_forward_hooks")
"""Torch keeps hooks under ids from a counter of the process, so that their keys say nothing."""

_WRITTEN_BY_LIBRARIES = {*vars(nn.Module()), "_pyro_context"} - _KEPT_BY_MODULES
"""Bookkeeping of torch and Pyro, which changes by use and not by what a module computes."""

_BLIND = {"globals", "eval", "exec", "__import__"}
"""Functions of Python by which code reads what its names do not say."""

_PYTHONS = tuple(Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib"))
_PACKAGES = {"site-packages", "dist-packages"}
"""Also those of the user, of the system, and of another environment on the path."""


class UnrecognizableError(ValueError):
    """An object whose content cannot be named, such as an open file or a lock."""


def fingerprint(value: object) -> str:
    """The name of an object's content.

    Of tensors it is their values; of modules parameters, buffers, attributes and class; of
    functions and classes their code and the values of all that it reads: what is enclosed, global
    variables, helper functions and their own globals, attributes of modules that are not installed
    packages. Installed packages count by their versions, this library by its source. Files, the
    environment and the clock are not seen.

    It does not change when a program is used: what torch and Pyro write into modules, and what this
    library keeps by `cached_property`, is left out.

    Args:
        value: A model, a guide, an estimator.

    Returns:
        32 hexadecimal digits.

    Raises:
        UnrecognizableError: If part of it cannot be named.

    Example:
        >>> import torch
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.zeros(2)})
        True
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.ones(2)})
        False
    """
    try:
        return _Walk().digest(value).hex()[:32]
    except RecursionError as error:
        raise UnrecognizableError(f"{type(value).__name__} is nested too deeply") from error


class _Walk:
    """One way through an object, on which every part is named once."""

    def __init__(self) -> None:
        self._digests: dict[int, bytes] = {}
        self._open: dict[int, int] = {}
        self._alive: list[object] = []

    def digest(self, value: Any) -> bytes:  # noqa: ANN401
        if type(value) in _PLAIN:
            return _hash(type(value).__name__, value if type(value) is bytes else repr(value))
        key = id(value)
        if key in self._digests:
            return self._digests[key]
        if key in self._open:
            return _hash("circle", str(self._open[key]))
        # An id names an object as long as it lives.
        self._alive.append(value)
        self._open[key] = len(self._open)
        self._digests[key] = self._content(value)
        del self._open[key]
        return self._digests[key]

    def _content(self, value: Any) -> bytes:  # noqa: ANN401
        kind = type(value)
        if kind is dict:
            return _hash("dict", *(self.digest(part) for item in value.items() for part in item))
        if kind in {set, frozenset}:
            return _hash("set", *sorted(self.digest(part) for part in value))
        parts = value if kind in {tuple, list} else _parts(value)
        return _hash(kind.__name__, *(self.digest(part) for part in parts))


def _hash(*parts: bytes | str) -> bytes:
    content = hashlib.sha256()
    for part in parts:
        content.update(hashlib.sha256(part if isinstance(part, bytes) else part.encode()).digest())
    return content.digest()


def _parts(value: Any) -> Iterable[object]:  # noqa: ANN401
    """The simpler objects that an object is made of."""
    for kinds, parts in _PARTS:
        if isinstance(value, kinds):
            return parts(value)
    return _object_parts(value)


def _tensor_parts(tensor: Tensor) -> Iterable[object]:
    if tensor.layout is not torch.strided:
        raise UnrecognizableError(f"it holds a tensor of layout {tensor.layout}")
    values = tensor.detach().cpu().resolve_conj().resolve_neg()
    # A copy, for one entry that is expanded counts as contiguous though it has no stride.
    flat = values.clone(memory_format=torch.contiguous_format).reshape(-1)
    return str(tensor.dtype), tuple(tensor.shape), flat.view(torch.uint8).numpy().tobytes()


def _network_parts(module: nn.Module) -> Iterable[object]:
    own = {k: v for k, v in vars(module).items() if k not in _WRITTEN_BY_LIBRARIES}
    hooks = [list(getattr(module, name).values()) for name in _HOOKS]
    return type(module), _without_cached(module, own), hooks


def _function_parts(function: FunctionType) -> Iterable[object]:
    code, names = function.__code__, set(_words(function.__code__))
    enclosed = [_read(value, names) for value in _cells(function.__closure__ or ())]
    own = (code, function.__defaults__, function.__kwdefaults__, enclosed, vars(function))
    release = _release(str(function.__globals__.get("__name__")))
    if release is not None:
        return release, function.__qualname__, own
    known = function.__globals__
    used = {name: _read(known[name], names) for name in _globals(code) if name in known}
    imports = _operands(code, {"IMPORT_NAME"})
    imported = {name: _read(_import(name), names) for name in imports}
    return own, used, imported


def _code_parts(code: CodeType) -> Iterable[object]:
    words = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, code.co_consts, words, code.co_flags


def _class_parts(kind: type) -> Iterable[object]:
    release = _release(kind.__module__)
    if release is not None:
        return release, kind.__module__, kind.__qualname__
    own = {name: value for name, value in vars(kind).items() if _is_content(name, value)}
    return kind.__qualname__, kind.__bases__, own


def _is_content(name: str, value: object) -> bool:
    """Whether a class says it, and neither Python nor a metaclass wrote it down."""
    is_special = name.startswith("__") and name.endswith("__")
    methods = (FunctionType, classmethod, staticmethod, property)
    return name != "_abc_impl" and (not is_special or isinstance(value, methods))


def _builtin_parts(function: BuiltinFunctionType) -> Iterable[object]:
    owner = function.__self__
    return function.__qualname__, owner.__name__ if isinstance(owner, ModuleType) else owner


def _module_parts(module: ModuleType) -> Iterable[object]:
    release = _release(module.__name__)
    if release is None:
        raise UnrecognizableError(f"it holds the module {module.__name__}")
    return release, module.__name__


def _object_parts(value: Any) -> Iterable[object]:  # noqa: ANN401
    """The state that pickle would write down of it."""
    try:
        reduced = value.__reduce_ex__(4)
    except Exception as error:
        raise UnrecognizableError(f"it holds a {type(value).__name__} ({error})") from error
    if isinstance(reduced, str):
        module = getattr(value, "__module__", None) or type(value).__module__
        if _release(module) is None:
            raise UnrecognizableError(f"it holds a {type(value).__name__} known by name alone")
        return module, type(value).__qualname__, reduced
    make, arguments, state, *items = (*reduced, None, None, None)[:5]
    if isinstance(state, dict):
        state = _without_cached(value, state)
    return type(value), make, arguments, state, [list(item or ()) for item in items]


def _without_cached(value: object, attributes: dict[str, Any]) -> dict[str, Any]:
    """The attributes without those that this library computes once; others may set theirs."""
    return {k: v for k, v in attributes.items() if not _is_cached(type(value), k)}


def _is_cached(kind: type, name: str) -> bool:
    found = inspect.getattr_static(kind, name, None)
    return isinstance(found, cached_property) and found.func.__module__.startswith("lvkam_pyro.")


_PARTS: tuple[tuple[Any, Callable[[Any], Iterable[object]]], ...] = (
    (Tensor, _tensor_parts),
    (nn.Module, _network_parts),
    (FunctionType, _function_parts),
    (CodeType, _code_parts),
    (type, _class_parts),
    (ModuleType, _module_parts),
    (MethodType, lambda method: (method.__func__, method.__self__)),
    (BuiltinFunctionType, _builtin_parts),
    (_lru_cache_wrapper, lambda function: (function.__wrapped__,)),
    (staticmethod | classmethod, lambda method: (method.__func__,)),
    (property, lambda one: (one.fget, one.fset, one.fdel)),
    (cached_property, lambda one: (one.func,)),
    (GetSetDescriptorType | MemberDescriptorType, lambda slot: (slot.__name__,)),
    (MappingProxyType, lambda mapping: (dict(mapping),)),
)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _words(code: CodeType) -> Iterator[str]:
    """Every name that the code can look up, also of attributes, and by `getattr`."""
    for one in _codes(code):
        yield from one.co_names
        yield from (constant for constant in one.co_consts if isinstance(constant, str))


def _globals(code: CodeType) -> list[str]:
    names = _operands(code, {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
    unknown = sorted(_BLIND & set(names))
    if unknown:
        raise UnrecognizableError(f"it calls {unknown[0]}(), which can read anything")
    return names


def _operands(code: CodeType, operations: set[str]) -> list[str]:
    steps = (step for one in _codes(code) for step in dis.get_instructions(one))
    return sorted({str(step.argval) for step in steps if step.opname in operations})


def _cells(closure: Iterable[CellType]) -> Iterator[object]:
    for cell in closure:
        try:
            yield cell.cell_contents
        except ValueError:
            yield "empty"


def _read(value: object, names: set[str]) -> object:
    """The value, or of a user's module what code with these names can read from it."""
    if not isinstance(value, ModuleType) or _release(value.__name__) is not None:
        return value
    return {name: _read(vars(value)[name], names) for name in sorted(names & set(vars(value)))}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (ImportError, ValueError) as error:
        raise UnrecognizableError(f"it imports {name!r} while it runs ({error})") from error


@cache
def _release(module: str) -> str | None:
    """The installed package that a module is from, and its version; None of other code."""
    top = module.partition(".")[0]
    if top == "lvkam_pyro":
        return _own_source()
    package = sys.modules.get(top)
    path = getattr(package, "__file__", None)
    is_pythons = top in sys.stdlib_module_names
    if path is None:
        return sys.version if is_pythons else None
    folders = Path(path).resolve().parents
    if is_pythons and any(folder in folders for folder in _PYTHONS):
        return sys.version
    if not _PACKAGES & {folder.name for folder in folders}:
        return None
    return f"{top} {getattr(package, '__version__', None) or _distribution_version(top)}"


def _distribution_version(top: str) -> str:
    names = importlib.metadata.packages_distributions().get(top, [])
    return " ".join(importlib.metadata.version(name) for name in names)


@cache
def _own_source() -> str:
    package = Path(__file__).parent.parent
    return _hash(*(path.read_bytes() for path in sorted(package.rglob("*.py")))).hex()
