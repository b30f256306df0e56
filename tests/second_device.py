"""A second device without hardware: tensors that compute on the CPU, and do not mix with the CPU's.

For tests on machines without a GPU: what forgets a `device=` fails as it would there. Experimental
parts of torch stand behind it (see `torch.utils.backend_registration`), so it is for tests alone,
in a process of its own.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

NAME = "elsewhere"

_ops = torch.ops.aten

_ACROSS = {
    _ops._to_copy.default,
    _ops.copy_.default,
    # On a GPU, too, an index may be on the CPU.
    _ops.index.Tensor,
    _ops.index_put_.default,
}
"""Kernels that take tensors of several devices."""


class Elsewhere(Tensor):
    """A tensor on the second device, with its numbers on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type[Self], inner: Tensor) -> Self:
        """Wraps the numbers."""
        return Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )

    def __init__(self, inner: Tensor) -> None:
        self.inner = inner

    def tolist(self) -> Any:
        """The numbers, which torch gives of its own tensors alone."""
        return self.inner.tolist()

    def __format__(self, text: str) -> str:
        """As torch's own tensors, of which a number is shown as one."""
        return format(self.inner, text)

    def __repr__(self, **options: object) -> str:
        return f"Elsewhere({self.inner!r})"

    @classmethod
    def __torch_dispatch__(
        cls,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Computes outside of the mode, in the backward pass, say."""
        return compute(func, args, kwargs or {})


class SecondDevice(TorchDispatchMode):
    """Inside, `device="elsewhere"` is a device."""

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        return compute(func, args, kwargs or {})


def compute(func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """Runs a kernel on the CPU, if its tensors are on one device."""
    tensors = [each for each in tree_flatten((args, kwargs))[0] if isinstance(each, Tensor)]
    away = [each for each in tensors if isinstance(each, Elsewhere)]
    # As on a GPU, a number may be on the CPU.
    here = [each for each in tensors if not isinstance(each, Elsewhere) and each.dim() > 0]
    if away and here and func not in _ACROSS:
        raise RuntimeError(f"{func}: expected all tensors on one device, found {tensors}.")
    device = kwargs.get("device")
    goes_away = bool(away) if device is None else torch.device(device).type == NAME
    if func is _ops.copy_.default:
        goes_away = isinstance(args[0], Elsewhere)
    options = dict(kwargs) | ({} if device is None else {"device": torch.device("cpu")})
    inner = func(*tree_map(_unwrap, args), **tree_map(_unwrap, options))
    outer = tree_map(_wrap, inner) if goes_away else inner
    if not (goes_away and away):
        return outer
    return return_and_correct_aliasing(func, args, dict(kwargs), outer)


def _unwrap(value: Any) -> Any:
    return value.inner if isinstance(value, Elsewhere) else value


def _wrap(value: Any) -> Any:
    plain = isinstance(value, Tensor) and not isinstance(value, Elsewhere)
    return Elsewhere(value) if plain else value


def register() -> None:
    """Makes the second device known to torch, for good."""
    _setup_privateuseone_for_python_backend(NAME)
    # What torch.tensor(..., device=...) calls, which no mode sees.
    for kernel in ("empty_strided", "empty.memory_format", "_copy_from", "copy_"):
        _LIBRARY.impl(kernel, _kernel(kernel), "PrivateUse1")


_LIBRARY = torch.library.Library("aten", "IMPL")


def _kernel(name: str) -> Any:
    packet, _, overload = name.partition(".")
    func = getattr(getattr(_ops, packet), overload or "default")
    return lambda *args, **kwargs: compute(func, args, kwargs)
