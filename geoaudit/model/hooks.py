"""Reading and editing the residual stream: the only file that registers hooks.

All contexts take their hooks off again whatever happens inside, and neither changes a tensor in place. A hook that
stayed silent although the model ran would make an edit that did nothing look like an edit without effect, so every
hook is counted against the decoder's forward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from geoaudit.errors import NothingToMeasure, RequestError, UnknownName
from geoaudit.model.loaded import LoadedModel

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
"""Names as in TransformerLens; `resid_post[l]` is the output of block l, `attn_out` and `mlp_out` are what it adds."""

Place = tuple[Site, int]
"""A site and a layer, counted from 0."""

SITES: tuple[Site, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")

Edit = Callable[[Tensor], Tensor]
"""`[batch, length, d_model]` to a new tensor of the same shape and dtype."""

_INPUTS: frozenset[Site] = frozenset({"resid_pre", "resid_mid"})
"""Sites that are some module's input; the others are some module's output."""


def every_site(loaded: LoadedModel) -> list[Place]:
    """The three places a layer of directional ablation: block input, attention output, MLP output (Arditi et al. 2024).

    Together they hold everything that is ever written to the stream (in a block with a norm behind its writers, what
    the norm lets through).
    """
    sites: tuple[Site, ...] = ("resid_pre", "attn_out", "mlp_out")
    return [(site, layer) for layer in range(loaded.n_layers) for site in sites]


@contextmanager
def captured(
    loaded: LoadedModel, places: Iterable[Place], *, keep: Callable[[Tensor], Tensor] | None = None
) -> Iterator[dict[Place, Tensor]]:
    """Collect the stream at `places` during each forward pass inside the context.

    Yields:
        A dictionary that each pass fills anew: place to the model's own tensor `[batch, length, d_model]`, or to what
        `keep` makes of it (so that only the positions of interest stay in memory). Within an enclosing `edited`
        context the tensors are those after the edit.

    Raises:
        RequestError: `resid_mid` of a parallel block, or a layer that does not exist.
        NothingToMeasure: the model ran and a place was never reached.
    """
    found: dict[Place, Tensor] = {}

    def at(place: Place) -> Callable[[Tensor], None]:
        def look(tensor: Tensor) -> None:
            found[place] = tensor if keep is None else keep(tensor)

        return look

    with _hooked(loaded, {place: at(place) for place in places}):
        yield found


@contextmanager
def edited(loaded: LoadedModel, edits: Mapping[Place, Edit]) -> Iterator[None]:
    """Replace the stream at each place by what its edit returns, in every forward pass inside the context.

    Prompt and generated tokens, all positions; an edit that concerns some positions only has to say so itself.

    Raises:
        RequestError: a place that does not exist, `resid_mid` (which no module's output holds: edit `resid_pre` and
            `attn_out`), or an edit that returns another shape or dtype.
        NothingToMeasure: the model ran and an edit was never applied.
    """
    for site, layer in edits:
        if site == "resid_mid":
            raise RequestError(
                f"resid_mid of layer {layer} can be read but not edited: the block adds to a copy that no module "
                "returns; edit resid_pre and attn_out of that layer instead"
            )
    with _hooked(loaded, edits):
        yield


@contextmanager
def skipped_below(loaded: LoadedModel, layer: int) -> Iterator[None]:
    """Blocks below `layer` pass on what they are given and compute nothing, in every forward pass inside the context.

    Whoever knows the stream at `layer` puts it in place there with `edited` and saves the blocks before. Their keys
    and values are not written: a cache has to hold them already where they are looked at for lengths.

    Raises:
        RequestError: a layer that does not exist.
    """
    if not 0 <= layer < loaded.n_layers:
        raise RequestError(f"layer {layer} does not exist: this model has layers 0 to {loaded.n_layers - 1}")
    below = list(loaded.blocks)[:layer]
    own = [block.__dict__.get("forward") for block in below]  # accelerate puts one on a module that it moves
    try:
        for block in below:
            block.forward = _pass_on
        yield
    finally:
        for block, forward in zip(below, own, strict=True):
            if forward is None:
                del block.forward  # the class's own is seen again
            else:
                block.forward = forward


def _pass_on(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """What a block that is skipped does."""
    return hidden_states


@contextmanager
def _hooked(loaded: LoadedModel, actions: Mapping[Place, Callable[[Tensor], Tensor | None]]) -> Iterator[None]:
    """Run `actions[place]` on the tensor at each place; a returned tensor takes its place, None leaves it."""
    handles: list[RemovableHandle] = []
    fired: dict[Place, int] = dict.fromkeys(actions, 0)
    passes = 0

    def count(module: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal passes
        passes += 1

    modules = {place: _module(loaded, place) for place in actions}
    try:
        handles.append(loaded.decoder.register_forward_pre_hook(count))
        for place, action in actions.items():
            if place[0] in _INPUTS:
                hook = _on_input(place, action, fired)
                handles.append(modules[place].register_forward_pre_hook(hook, with_kwargs=True))
            else:
                handles.append(modules[place].register_forward_hook(_on_output(place, action, fired)))
        yield
    finally:
        for handle in handles:
            handle.remove()
    # reached only when the body did not raise
    silent = [place for place in fired if fired[place] < passes]
    if silent:
        site, layer = silent[0]
        raise NothingToMeasure(
            f"{site} of layer {layer} was reached in {fired[silent[0]]} of {passes} forward passes "
            f"({len(silent)} of {len(fired)} places fell silent): this model does not run the modules that the "
            "architecture table names, so nothing read or edited there can be trusted"
        )


def _module(loaded: LoadedModel, place: Place) -> nn.Module:
    """The module whose input or output is this place."""
    site, layer = place
    if site not in SITES:
        raise UnknownName.among("site", site, SITES)
    if not 0 <= layer < loaded.n_layers:
        raise RequestError(f"layer {layer} does not exist: this model has layers 0 to {loaded.n_layers - 1}")
    block, row = loaded.blocks[layer], loaded.architecture
    if site in ("resid_pre", "resid_post"):
        return block
    if site == "resid_mid":
        if row.mid is None:
            raise RequestError(
                "resid_mid does not exist in this model: its attention and MLP run in parallel, both on resid_pre; "
                "ask for resid_pre or resid_post"
            )
        return block.get_submodule(row.mid)
    return block.get_submodule(row.attention if site == "attn_out" else row.mlp)


def _on_input(
    place: Place, action: Callable[[Tensor], Tensor | None], fired: dict[Place, int]
) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], tuple[tuple[Any, ...], dict[str, Any]] | None]:
    """A forward pre-hook that shows `action` the stream, passed first or as `hidden_states`."""

    def hook(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        fired[place] += 1
        stream: Tensor = args[0] if args else kwargs["hidden_states"]
        new = action(stream)
        if new is None:
            return None
        _check(place, stream, new)
        return ((new, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": new})

    return hook


def _on_output(
    place: Place, action: Callable[[Tensor], Tensor | None], fired: dict[Place, int]
) -> Callable[[nn.Module, tuple[Any, ...], Any], Any]:
    """A forward hook that shows `action` the output, or the first part of an output of several."""

    def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        fired[place] += 1
        stream: Tensor = output[0] if isinstance(output, tuple) else output
        new = action(stream)
        if new is None:
            return None
        _check(place, stream, new)
        return (new, *output[1:]) if isinstance(output, tuple) else new

    return hook


def _check(place: Place, old: Tensor, new: Tensor) -> None:
    """An edit keeps shape and dtype; a silent float32 would turn a bfloat16 model into another one."""
    if new.shape != old.shape or new.dtype != old.dtype:
        raise RequestError(
            f"the edit at {place[0]} of layer {place[1]} returned {tuple(new.shape)} {new.dtype} "
            f"where the stream is {tuple(old.shape)} {old.dtype}: it has to keep both"
        )
