"""The parameters of `pyro.param` and `pyro.module` statements, which Pyro's store alone holds."""

from collections.abc import Iterator

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from lvkam_pyro.tracing.program import BoundProgram
from lvkam_pyro.tracing.recorder import Site
from lvkam_pyro.tracing.session import preserved_rng


class StoredParameters(nn.Module):
    """A module that holds, as its own, the unconstrained parameters of a store under these names.

    The store gives them out from then on: what a statement looks up by its name is, at every
    update, the tensor that the optimiser changes.

    Args:
        names: Names in Pyro's parameter store.

    Example:
        >>> with pyro.get_param_store().scope():
        ...     loc = pyro.param("loc", torch.zeros(2))
        ...     stored = StoredParameters(["loc"])
        ...     pyro.param("loc") is stored.loc
        True
    """

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        state = pyro.get_param_store().get_state()
        self.names = {name: name.replace(".", "/") for name in names}
        self.constraints = {name: state["constraints"][name] for name in names}
        for name, own in self.names.items():
            self.register_parameter(own, _as_parameter(state["params"][name]))
        self.hand_over()

    def hand_over(self) -> None:
        """Puts the parameters into Pyro's store, in the place of others under their names."""
        store = pyro.get_param_store()
        for name in self.names:
            if name in store:
                del store[name]
        params = {name: getattr(self, own) for name, own in self.names.items()}
        store.set_state({"params": params, "constraints": self.constraints})

    def run_by(self, program: BoundProgram) -> Iterator[nn.Parameter]:
        """The parameters whose statements a model runs; the others are its guide's."""
        with torch.no_grad(), preserved_rng(program.like), _ParameterNames() as run:
            program.record_alone()
        return (getattr(self, own) for name, own in self.names.items() if name in run.names)


def names_of_no_module(module: nn.Module) -> list[str]:
    """The names in Pyro's store of parameters that are none of a module's.

    Example:
        >>> with pyro.get_param_store().scope():
        ...     loc = pyro.param("loc", torch.zeros(2))
        ...     names_of_no_module(nn.Linear(1, 1))
        ['loc']
    """
    owned = {id(parameter) for parameter in module.parameters()}
    stored = pyro.get_param_store().named_parameters()
    return [name for name, parameter in stored if id(parameter) not in owned]


def _as_parameter(value: Tensor) -> nn.Parameter:
    return value if isinstance(value, nn.Parameter) else nn.Parameter(value.detach())


class _ParameterNames(Messenger):
    """The names of the `pyro.param` statements that run inside."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def _pyro_param(self, msg: Site) -> None:
        self.names.add(msg["name"])
