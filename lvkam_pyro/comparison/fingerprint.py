"""A short name of any object's content: equal in another process, different after any change."""

import hashlib
import io
import marshal
import pickle
from collections.abc import Callable
from types import FunctionType
from typing import Any

from torch import Tensor


def fingerprint(value: object) -> str:
    """The name: of tensors by their values, of functions by their code and what they enclose.

    The code of classes is not looked at, only their names.

    Args:
        value: A model, a guide, an estimator; anything that pickle takes apart.

    Returns:
        32 hexadecimal digits.

    Raises:
        ValueError: If the object cannot be taken apart.

    Example:
        >>> import torch
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.zeros(2)})
        True
        >>> fingerprint({"w": torch.zeros(2)}) == fingerprint({"w": torch.ones(2)})
        False
    """
    content = io.BytesIO()
    try:
        _ContentPickler(content, protocol=4).dump(value)
    except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{type(value).__name__} cannot be recognised in a later run ({error}). Leave out "
            "folder=, or remove what pickle cannot take (open files, locks, generators)."
        ) from error
    return hashlib.sha256(content.getvalue()).hexdigest()[:32]


class _ContentPickler(pickle.Pickler):
    """Writes down content alone: of tensors no addresses, of functions no mere names."""

    def reducer_override(self, obj: object) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        if isinstance(obj, Tensor):
            array = obj.detach().cpu().contiguous().numpy()
            return bytes, (str(obj.dtype).encode(), tuple(obj.shape), array.tobytes())
        if isinstance(obj, FunctionType):
            enclosed = tuple(cell.cell_contents for cell in obj.__closure__ or ())
            code = marshal.dumps(obj.__code__)
            return bytes, (obj.__qualname__, code, obj.__defaults__, obj.__kwdefaults__, enclosed)
        return NotImplemented
