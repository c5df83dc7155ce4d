"""The trainable form of a prefix, an infix or a soft prompt: the values themselves, or an MLP that computes them.

The initial states of recurrent layers are always values themselves.

With `mlp_hidden` a site's values are Linear(M, O) of tanh of Linear(W, M) of a matrix [P, W], as in Li & Liang 2021,
section 4.3. Each site has its own MLP, as in the authors' code for BART. `collapse` returns the values without the MLP,
and only these are saved. Knows tensors; does not know models, files or optimizers.

Shapes: L layers, 2 for key and value, H key/value heads, P slots, D head size, W = H * D, M = width of the MLP, O
values of a slot.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from components.errors import BaseModelError
from components.model.base.shapes import INFIX, PrefixShape, StateKey
from components.model.prefix.prefix import Prefix


class TrainableSlots(nn.Module):
    """P rows of O values: parameters themselves, or computed by an MLP from P rows of W values."""

    def __init__(
        self, shape: tuple[int, ...], *, length: int, out: int, width: int, mlp_hidden: int, seed: int
    ) -> None:
        """Start at zero. `shape` is the shape of the parameters without an MLP: `length` x `out` values in any order.

        The MLP's weights are drawn from `seed` only; the global generator is not used.
        """
        super().__init__()
        self.length = length
        self.mlp_hidden = mlp_hidden
        if not mlp_hidden:
            self.values = nn.Parameter(torch.zeros(shape))
            return
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(length, width, generator=generator))
        self.inner_weight = nn.Parameter(_draw_uniform((mlp_hidden, width), width, generator))
        self.inner_bias = nn.Parameter(_draw_uniform((mlp_hidden,), width, generator))
        self.outer_weight = nn.Parameter(_draw_uniform((out, mlp_hidden), mlp_hidden, generator))
        self.outer_bias = nn.Parameter(torch.zeros(out))

    def compute_values(self) -> Tensor:
        """Return the values that the MLP computes for every slot, [P, O]."""
        return nn.functional.linear(self._compute_hidden(), self.outer_weight, self.outer_bias)

    @torch.no_grad()
    def fit(self, target_PO: Tensor) -> None:
        """Fit the output layer so that the MLP computes `target_PO`; exact up to rounding if it has at least P units.

        The authors fit the whole MLP with 500 Adam steps. This solves the least squares of the output layer in closed
        form; the inner layer keeps its drawn weights.
        """
        if not self.length:
            return
        target_PO, hidden_PM = target_PO.double().cpu(), self._compute_hidden().double().cpu()
        bias_O = target_PO.mean(0)
        weight_MO = torch.linalg.lstsq(hidden_PM, target_PO - bias_O, driver="gelsd").solution
        self.outer_weight.copy_(weight_MO.T)
        self.outer_bias.copy_(bias_O)

    def _compute_hidden(self) -> Tensor:
        return torch.tanh(nn.functional.linear(self.embedding, self.inner_weight, self.inner_bias))


class PrefixModule(nn.Module):
    """The trainable form of a prefix (all sites of a base), or of an infix."""

    def __init__(
        self,
        shape: PrefixShape,
        length: int,
        mlp_hidden: int = 0,
        *,
        seed: int = 0,
        infix: bool = False,
        states: Mapping[StateKey, tuple[int, ...]] | None = None,
    ) -> None:
        """Start at zero; see `load_values`. `states` are the sizes of the initial states to train, if any."""
        super().__init__()
        self.shape = shape
        self.length = length
        self.mlp_hidden = mlp_hidden
        self.sites = {INFIX if infix else site: one for site, one in shape.sites.items()}
        self.slots = nn.ModuleList(
            TrainableSlots(
                (length, one.size) if one.uneven else (one.layers, 2, one.kv_heads, length, one.head_dim),
                length=length,
                out=one.size,
                width=one.kv_heads * one.head_dim,
                mlp_hidden=mlp_hidden,
                seed=seed + number,
            )
            for number, one in enumerate(self.sites.values())
        )
        sizes = dict(sorted((states or {}).items()))
        self.state_keys = tuple(sizes)
        self.states = nn.ParameterList(nn.Parameter(torch.zeros(one)) for one in sizes.values())

    def make_prefix(self) -> Prefix:
        """Return the prefix as a differentiable view of the parameters."""
        return Prefix.from_layers(self._compute_layers(), self._name_states())

    def collapse(self) -> Prefix:
        """Return the prefix as detached float32 copies, without the MLP."""
        with torch.no_grad():
            named = self.make_prefix().tensors
        return Prefix({name: tensor.detach().float().clone().contiguous() for name, tensor in named.items()})

    @torch.no_grad()
    def load_values(self, prefix: Prefix) -> None:
        """Set the values to those of `prefix`: exactly without an MLP, up to rounding with one of at least P units.

        Raises:
            BaseModelError: the prefix has another shape or length, or other initial states.
        """
        prefix.check_fits(self.shape)
        shapes = [
            {key: tuple(state.shape) for key, state in one.items()} for one in (self._name_states(), prefix.states)
        ]
        if shapes[0] != shapes[1]:
            got = f"{len(shapes[1])} of other layers or sizes" if shapes[1] else "none"
            fix = "set train.initial_state as in that run, or start from another prefix"
            raise BaseModelError(f"a prefix with {len(shapes[0]) or 'no'} initial states", got, fix)
        if prefix.length != self.length or set(prefix.sites) != set(self.sites):
            got = f"{prefix.length} in {', '.join(prefix.sites)}"
            wanted = f"a prefix of length {self.length} in {', '.join(self.sites)}"
            raise BaseModelError(wanted, got, "change train.prefix_length, or start from another prefix")
        for site, slots in zip(self.sites, self.slots, strict=True):
            flat = [
                tensor.transpose(0, 1).flatten(1) for name, tensor in prefix.tensors.items() if name.startswith(site)
            ]
            if self.mlp_hidden:
                slots.fit(torch.cat(flat, dim=1))  # type: ignore[operator]
            else:
                is_flat = self.sites[site].uneven
                slots.values.copy_(torch.cat(flat, dim=1) if is_flat else prefix.stack_site(site))  # type: ignore[operator]
        for key, state in self._name_states().items():
            state.copy_(prefix.states[key])

    def _name_states(self) -> dict[StateKey, Tensor]:
        return dict(zip(self.state_keys, self.states, strict=True))

    def _compute_layers(self) -> Mapping[str, Sequence[tuple[Tensor, Tensor]]]:
        """Return keys and values of every site, layer by layer, each [H, P, D]."""
        values: dict[str, Sequence[tuple[Tensor, Tensor]]] = {}
        for (site, one), slots in zip(self.sites.items(), self.slots, strict=True):
            if not self.mlp_hidden and not one.uneven:
                values[site] = [pair.unbind(0) for pair in slots.values.unbind(0)]  # type: ignore[operator, misc]
                continue
            flat_PO: Tensor = slots.compute_values() if self.mlp_hidden else slots.values  # type: ignore[operator, assignment]
            sizes = [
                size for each in one.each for size in (each.kv_heads * each.key_dim, each.kv_heads * each.value_dim)
            ]
            parts = iter(torch.split(flat_PO, sizes, dim=1))
            values[site] = [
                (
                    next(parts).view(self.length, each.kv_heads, each.key_dim).transpose(0, 1),
                    next(parts).view(self.length, each.kv_heads, each.value_dim).transpose(0, 1),
                )
                for each in one.each
            ]
        return values


class PromptModule(nn.Module):
    """The trainable form of a soft prompt: P rows in the place of token embeddings."""

    def __init__(self, width: int, length: int, mlp_hidden: int = 0, *, seed: int = 0) -> None:
        """Start with `length` rows of `width` zeros; see `load_values`."""
        super().__init__()
        self.length = length
        self.mlp_hidden = mlp_hidden
        self.slots = TrainableSlots(
            (length, width), length=length, out=width, width=width, mlp_hidden=mlp_hidden, seed=seed
        )

    def make_prompt(self) -> Tensor:
        """Return the prompt [P, W] as a differentiable view of the parameters."""
        return self.slots.compute_values() if self.mlp_hidden else self.slots.values

    def collapse(self) -> Tensor:
        """Return the prompt as a detached float32 copy."""
        return self.make_prompt().detach().float().clone()

    @torch.no_grad()
    def load_values(self, prompt_PW: Tensor) -> None:
        """Set the values to `prompt_PW`.

        Raises:
            BaseModelError: it has another length or width.
        """
        wanted = (self.length, self.slots.embedding.shape[1] if self.mlp_hidden else self.slots.values.shape[1])
        if tuple(prompt_PW.shape) != wanted:
            raise BaseModelError(f"a prompt of {wanted}", f"one of {tuple(prompt_PW.shape)}", "set train.prefix_length")
        if self.mlp_hidden:
            self.slots.fit(prompt_PW)
        else:
            self.slots.values.copy_(prompt_PW)


def _draw_uniform(shape: tuple[int, ...], fan_in: int, generator: torch.Generator) -> Tensor:
    bound = fan_in**-0.5
    return torch.empty(shape).uniform_(-bound, bound, generator=generator)
