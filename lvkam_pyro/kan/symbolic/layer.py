"""A KAN layer some of whose functions are formulas with constants to train."""

import copy
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import cast

import torch
from torch import Tensor, nn

from lvkam_pyro.kan.layer import KANLayer
from lvkam_pyro.kan.symbolic.forms import FORMS, Formula, SymbolicForm
from lvkam_pyro.kan.symbolic.layer_fit import LayerFit

_NO_FORM = 0


class SymbolicLayer(KANLayer):
    r"""A KAN layer in which chosen functions are :math:`c \, g(a z + b) + d`.

    Their constants are trained like the coefficients of the others, which stay splines. A formula
    goes on outside the domain of the basis. The spline that it replaces is masked, keeps its
    coefficients, and comes back with ``restore_spline``.

    Attributes:
        constants: The parameter :math:`(a, b, c, d)` of every function, ``(I, O, 4)``; those of
            splines are not used.
        form_keys: The buffer ``(I, O)`` of the formulas' ``SymbolicForm.key``, 0 for splines.
        mask: Of the splines; 0 where there is a formula.

    Args:
        layer: The layer to start from, which is copied.
        forms: The forms that a state to be loaded may name; ``set_formula`` adds its own.

    Raises:
        TypeError: If `layer` is no KANLayer, or has formulas already.

    Example:
        >>> layer = SymbolicLayer(KANLayer(2, 3))
        >>> layer.set_formula(0, 2, Formula(FORMS["sin"], a=3.0))
        >>> z = torch.rand(10, 2)
        >>> bool((layer.unsummed(z)[:, 0, 2] == torch.sin(3 * z[:, 0])).all())
        True
        >>> layer(z).sum().backward()
        >>> layer.constants.grad[0, 2].bool()
        tensor([True, True, True, True])
    """

    form_keys: Tensor
    _edges: Tensor
    _position: Tensor

    def __init__(
        self, layer: KANLayer, *, forms: Iterable[SymbolicForm] = tuple(FORMS.values())
    ) -> None:
        if not isinstance(layer, KANLayer) or isinstance(layer, SymbolicLayer):
            raise TypeError(
                f"Expected a KANLayer without formulas, got {type(layer).__name__}. Change the "
                "formulas of a SymbolicLayer with set_formula and restore_spline."
            )
        nn.Module.__init__(self)
        # All that the layer is, and no random number drawn for what would be overwritten.
        self.__dict__.update(copy.deepcopy(layer).__dict__)
        shape = self.in_features, self.out_features
        self.forms = tuple(forms)
        self.constants = nn.Parameter(self.coefficients.detach().new_zeros(*shape, 4))
        keys = torch.full(shape, _NO_FORM, device=self.constants.device)
        self.register_buffer("form_keys", keys)
        self._remember_formulas()

    @property
    def is_piecewise_polynomial(self) -> bool:
        """Whether every function is: B-splines alone, and no formula."""
        return super().is_piecewise_polynomial and not self._counts

    @property
    def formulas(self) -> dict[tuple[int, int], Formula]:
        """The formulas with their constants as they are now, by input and output."""
        by_key = {form.key: form for form in self.forms}
        return {
            (i, o): Formula(by_key[int(self.form_keys[i, o])], *self.constants[i, o].tolist())
            for i, o in self.form_keys.nonzero().tolist()
        }

    @torch.no_grad()
    def set_formula(self, in_feature: int, out_feature: int, formula: Formula) -> None:
        """Makes one function a formula, which starts from the constants given.

        Args:
            in_feature: The number of its input.
            out_feature: The number of its output.
            formula: The formula, such as a ``SymbolicFit``.

        Raises:
            ValueError: If the layer knows another form by the formula's name.
        """
        self._learn_form(formula.form)
        self.form_keys[in_feature, out_feature] = formula.form.key
        self.constants[in_feature, out_feature] = self.constants.new_tensor(formula.constants)
        self._remember_formulas()

    @torch.no_grad()
    def restore_spline(self, in_feature: int, out_feature: int) -> None:
        """Makes one function the spline again that it was before it became a formula."""
        if self.form_keys[in_feature, out_feature] != _NO_FORM:
            self.form_keys[in_feature, out_feature] = _NO_FORM
            self.mask[in_feature, out_feature] = 1
        self._remember_formulas()

    def replace(self, fit: LayerFit, *, min_r_squared: float = 0.99) -> int:
        """Makes formulas of all splines that one explains well enough.

        Args:
            fit: What ``fit_symbolic_layer`` found for this layer.
            min_r_squared: The least `R^2` of a formula.

        Returns:
            The number of functions that became formulas. A masked one stays as it is.
        """
        chosen = (fit.r_squared >= min_r_squared) & self.mask.bool().cpu()
        for i, o in chosen.nonzero().tolist():
            self.set_formula(i, o, fit[i, o][0])
        return int(chosen.sum())

    def forward(self, z: Tensor) -> Tensor:
        """The outputs, the sums over the inputs: ``(..., O)`` of ``(..., I)``."""
        values = super().forward(z)
        return values.index_add(-1, self._edges[1], self._evaluate_formulas(z))

    def unsummed(self, z: Tensor) -> Tensor:
        """Every function by itself: ``(..., I, O)`` of ``(..., I)``."""
        values = super().unsummed(z)
        flat = self._edges[0] * self.out_features + self._edges[1]
        added = values.flatten(-2).index_add(-1, flat, self._evaluate_formulas(z))
        return added.view_as(values)

    def selected(self, z: Tensor, index: Tensor) -> Tensor:
        """One function for each input, that of the output chosen: ``(..., I)``.

        All formulas are evaluated, and of the splines the chosen ones.
        """
        values = super().selected(z, index)
        formulas = self._evaluate_formulas(z)
        with_zero = torch.cat([formulas, torch.zeros_like(z[..., :1])], -1)
        position = self._position.expand(*z.shape, self.out_features)
        return values + with_zero.gather(-1, position.gather(-1, index.unsqueeze(-1)).squeeze(-1))

    def to_polynomials(self) -> Tensor:
        """The polynomials of a layer whose functions are all splines.

        Raises:
            ValueError: If a function is a formula.
        """
        if self._counts:
            raise ValueError(
                "Expected a layer of splines alone, whose functions are piecewise polynomials, got "
                f"formulas at {list(self.formulas)} (input, output). Use unsummed or selected, or "
                "make them splines again with restore_spline."
            )
        return super().to_polynomials()

    @torch.no_grad()
    def set_mask(self, mask: Tensor) -> None:
        """Switches splines off (0) or on (1), see ``KANLayer``; formulas stay what they are."""
        super().set_mask(mask)
        self._remember_formulas()

    def extra_repr(self) -> str:
        """The arguments, and how many functions are formulas."""
        return f"{super().extra_repr()}, formulas={self._edges.shape[1]}"

    def _evaluate_formulas(self, z: Tensor) -> Tensor:
        """The formulas' values, (..., E), in the order of the edges."""
        inputs, outputs = self._edges
        a, b, c, d = self.constants[inputs, outputs].unbind(-1)
        arguments = a * z.index_select(-1, inputs) + b
        parts = zip(self._counts, arguments.split(list(self._counts.values()), -1), strict=True)
        # The empty part in front serves a layer that has no formula.
        values = torch.cat([arguments[..., :0], *(form(part) for form, part in parts)], -1)
        return c * values + d

    def _learn_form(self, form: SymbolicForm) -> None:
        known = {own.key: own for own in self.forms}
        if known.setdefault(form.key, form) != form:
            raise ValueError(
                f"Expected a form of another name than {form.name!r}, by which the layer knows "
                f"{known[form.key]!r}."
            )
        self.forms = tuple(known.values())

    @torch.no_grad()
    def _remember_formulas(self) -> None:
        """Lists the edges with formulas, one form after the other, and masks their splines."""
        keys = self.form_keys.flatten()
        edges = keys.nonzero().squeeze(1)
        edges = edges[keys[edges].argsort(stable=True)]
        by_key = {form.key: form for form in self.forms}
        self._counts = {by_key[key]: len(list(same)) for key, same in groupby(keys[edges].tolist())}
        pairs = torch.stack([edges // self.out_features, edges % self.out_features])
        self.register_buffer("_edges", pairs, persistent=False)
        position = torch.full_like(keys, len(edges))
        position[edges] = torch.arange(len(edges), device=edges.device)
        self.register_buffer("_position", position.view_as(self.form_keys), persistent=False)
        super().set_mask(self.mask * (self.form_keys == _NO_FORM))

    def _load_from_state_dict(self, *args: object, **kwargs: object) -> None:
        state, prefix, *_ = args
        self._check_forms(cast("Mapping[str, Tensor]", state).get(f"{prefix}form_keys"))
        super()._load_from_state_dict(*args, **kwargs)
        self._remember_formulas()

    def _check_forms(self, keys: Tensor | None) -> None:
        named = set() if keys is None else set(keys.flatten().tolist())
        unknown = named - {_NO_FORM, *(form.key for form in self.forms)}
        if unknown:
            raise ValueError(
                f"Expected a state of the forms {', '.join(map(str, self.forms))}, got "
                f"{len(unknown)} others. Build the layer with forms=(*FORMS.values(), yours)."
            )
