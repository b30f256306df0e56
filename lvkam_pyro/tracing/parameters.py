"""Whose values a program computes with: its modules' own, not those of a namesake in the store.

Pyro keeps parameters in one global store, by name, and a `PyroModule` with a `PyroParam` takes over
whatever it finds there under its name: the second instance of a class becomes the first one.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import pyro
from pyro.nn import PyroModule
from pyro.params.param_store import param_with_module_name
from torch import nn

Program = Callable[..., Any]


@dataclass(frozen=True)
class _Owned:
    """A parameter of a module, as Pyro names it in its store.

    Attributes:
        name: The name in the store.
        module: Whose it is.
        attribute: The module's name for it.
        parameter: The tensor.
        read_back: Whether the module takes over what the store has under the name: a `PyroParam`.
    """

    name: str
    module: nn.Module
    attribute: str
    parameter: nn.Parameter
    read_back: bool

    def reclaim(self) -> bool:
        """Puts the tensor back into its module; whether another one had taken its place."""
        replaced = self.module._parameters.get(self.attribute) is not self.parameter
        self.module._parameters[self.attribute] = self.parameter
        return replaced


@contextmanager
def own_parameters(*programs: Program | None) -> Iterator[None]:
    """Runs programs on their modules' own parameters; modules and store end as they began.

    Inside, Pyro's store is a copy of the user's without the names of these modules: parameters of
    plain functions keep their values, and those that do not exist yet are made and forgotten.
    Handlers around do not see them: `SVI` would take what is forgotten here for its parameters.

    Args:
        *programs: Models and guides that run together; None stands for no program.

    Yields:
        Nothing.

    Raises:
        ValueError: If two parameters of one name met inside, so that one was computed with twice.

    Example:
        >>> import torch
        >>> from pyro.nn import PyroParam
        >>> class Constant(PyroModule):
        ...     def __init__(self, value):
        ...         super().__init__()
        ...         self.value = PyroParam(torch.tensor(value))
        ...     def forward(self):
        ...         return self.value.item()
        >>> one, two = Constant(1.0), Constant(2.0)
        >>> with own_parameters(one):
        ...     one()
        1.0
        >>> with own_parameters(two):
        ...     two()
        2.0
    """
    owned = _find_owned(programs)
    store = pyro.get_param_store()
    state = store.get_state()
    for name in [*(item.name for item in owned), *_reserved(programs)]:
        for entries in state.values():
            entries.pop(name, None)
    try:
        with store.scope(state), pyro.poutine.block(hide_types=["param"]):
            yield
    finally:
        shared = [item.name for item in owned if item.reclaim()]
    if shared:
        raise ValueError(
            f"Two modules that run together have Pyro parameters of one name, {', '.join(shared)}, "
            "and Pyro made them one. Rename one of them, or call "
            "pyro.settings.set(module_local_params=True) before building them."
        )


def check_parameters(*programs: Program | None, by_name: bool = False) -> None:
    """Nothing in Pyro's store would take the place of a parameter that is about to be trained.

    Args:
        *programs: The models and guides.
        by_name: Whether what is trained is taken from the store, as `SVI` does: then an
            `nn.Parameter`, too, loses its place to a namesake.

    Raises:
        ValueError: If the store has another tensor under the name of a parameter.

    Example:
        >>> import torch
        >>> from pyro.nn import PyroParam
        >>> class Constant(PyroModule):
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.value = PyroParam(torch.tensor(1.0))
        ...     def forward(self):
        ...         return self.value
        >>> one, two = Constant(), Constant()
        >>> _ = one()
        >>> check_parameters(one)
        >>> check_parameters(two)
        Traceback (most recent call last):
        ...
        ValueError: Pyro's parameter store has other tensors than this program's ... value...
    """
    if pyro.settings.get("module_local_params"):
        return
    stored = dict(pyro.get_param_store().named_parameters())
    taken = _reserved(programs)
    for item in _find_owned(programs):
        other = stored.get(item.name, item.parameter) is not item.parameter
        if other and (by_name or item.read_back):
            taken.append(item.name)
    if taken:
        raise ValueError(
            "Pyro's parameter store has other tensors than this program's own under the names "
            f"{', '.join(taken)}: those of a second instance of the class, or of an earlier run. "
            "Pyro would use and train them in place of the program's own. Train with "
            "lvkam_pyro.fit, or call pyro.clear_param_store() first, or "
            "pyro.settings.set(module_local_params=True) before building any model. To go on from "
            "the values in the store, call model and guide on the data once before."
        )


def _find_owned(programs: tuple[Program | None, ...]) -> list[_Owned]:
    """The parameters that the modules of these programs own."""
    seen: set[int] = set()
    modules = [module for program in programs for module in _modules(program, seen)]
    return [item for module in modules for item in _owned_by(module)]


def _reserved(programs: tuple[Program | None, ...]) -> list[str]:
    """The names in the store that belong to a guide which makes its parameters when first run.

    The name of such a guide is that of its class, so it would find those of another instance.
    """
    empty = [
        f"{program._pyro_name}."
        for program in programs
        if isinstance(program, PyroModule) and next(program.parameters(), None) is None
    ]
    prefixes = tuple(prefix for prefix in empty if prefix != ".")
    return [name for name in pyro.get_param_store() if name.startswith(prefixes)]


def _owned_by(module: PyroModule) -> Iterator[_Owned]:
    """The parameters of a module and of its plain submodules, as Pyro names them."""
    prefix = f"{module._pyro_name}." if module._pyro_name else ""
    for attribute, parameter in module._parameters.items():
        name = attribute.removesuffix("_unconstrained")
        read_back = name in module._pyro_params
        if parameter is not None:
            name = name if read_back else attribute
            yield _Owned(prefix + name, module, attribute, parameter, read_back)
    for name, child in module.named_children():
        if not isinstance(child, PyroModule):
            yield from _owned_by_plain(child, prefix + name)


def _owned_by_plain(child: nn.Module, name: str) -> Iterator[_Owned]:
    """The parameters that `pyro.module(name, child)` puts into the store."""
    for path, parameter in child.named_parameters():
        holder, _, attribute = path.rpartition(".")
        stored = param_with_module_name(name, path)
        yield _Owned(stored, child.get_submodule(holder), attribute, parameter, read_back=False)


def _modules(program: object, seen: set[int]) -> Iterator[PyroModule]:
    """The Pyro modules that a program is, holds, or refers to."""
    if id(program) in seen:
        return
    seen.add(id(program))
    if isinstance(program, nn.Module):
        yield from (module for module in program.modules() if isinstance(module, PyroModule))
        return
    for part in _parts(program):
        if callable(part) and not isinstance(part, type | BuiltinFunctionType):
            yield from _modules(part, seen)


def _parts(program: object) -> list[object]:
    if isinstance(program, partial):
        return [program.func, *program.args, *program.keywords.values()]
    if isinstance(program, MethodType):
        return [program.__self__]
    if isinstance(program, FunctionType):
        return _references(program)
    return list(getattr(program, "__dict__", {}).values())


def _references(function: FunctionType) -> list[object]:
    """The values that a function takes from around it: of other files' names only modules."""
    variables = inspect.getclosurevars(function)
    near = [
        value
        for value in variables.globals.values()
        if isinstance(value, nn.Module) or getattr(value, "__module__", "") == function.__module__
    ]
    return [*variables.nonlocals.values(), *near]
