"""Operations on tensors that are equal along axes, computed once along them."""

from collections.abc import Sequence

import torch
from torch import Size, Tag, Tensor

from lvkam_pyro.tracing.replaying.tape import Call

_aten = torch.ops.aten

_INDIFFERENT = {
    _aten.detach.default,
    _aten.clone.default,
    _aten._to_copy.default,
    _aten.unsqueeze.default,
    _aten.permute.default,
    _aten.transpose.int,
    _aten._is_all_true.default,
    _aten.all.default,
    _aten.any.default,
}
"""Operations to which repetitions make no difference, beside those element by element."""

_ALONG_AXES = {_aten._log_softmax.default, _aten._softmax.default, _aten.logsumexp.default}
"""Operations to which they make none, but along the axes that are the second argument."""

_RESHAPING = {_aten.view.default, _aten._unsafe_view.default}
"""Operations that ask for an order in memory, which what is repeated has not."""


def run_broadcast(
    call: Call, tensors: Sequence[Tensor], shapes: Sequence[Size]
) -> tuple[Tensor, ...]:
    """A call on tensors that stand for their expansions to given shapes; what it makes does, too.

    `pyro.plate` expands the parameters of distributions to all data: a logarithm of a scale is then
    taken of each datum anew, and its gradient too.

    Args:
        call: The call.
        tensors: Its inputs, with as many axes as recorded, some of size 1 in place of their own.
        shapes: The shapes of its inputs as recorded.

    Returns:
        Its outputs, of the recorded shapes or with sizes 1 in them.

    Example:
        >>> from lvkam_pyro.tracing.replaying.tape import Tape
        >>> scale = torch.ones(1)
        >>> with Tape(scale) as tape:
        ...     _ = scale.expand(1000).log()
        >>> tensors = (torch.tensor([2.0]),)
        >>> for call in tape.calls:
        ...     shapes = [tape.values[number].shape for number in call.inputs]
        ...     tensors = run_broadcast(call, tensors, shapes)
        >>> tensors
        (tensor([0.6931]),)
    """
    if call.function is _aten.expand.default:
        (tensor,), sizes = tensors, call.template[0][1]
        return (tensor[(None,) * (len(sizes) - tensor.ndim)],)
    if not _is_indifferent(call, tensors, shapes):
        tensors = [tensor.expand(shape) for tensor, shape in zip(tensors, shapes, strict=True)]
    if call.function in _RESHAPING:
        return (tensors[0].reshape([size.value for size in call.template[0][1]]),)
    return call.run(tensors)


def _is_indifferent(call: Call, tensors: Sequence[Tensor], shapes: Sequence[Size]) -> bool:
    function = call.function
    if function in _ALONG_AXES:
        dims = call.template[0][1]
        axes = [axis.value for axis in (dims if isinstance(dims, tuple) else (dims,))]
        return all(tensors[0].shape[axis] == shapes[0][axis] for axis in axes)
    return function in _INDIFFERENT or Tag.pointwise in getattr(function, "tags", ())
