"""Subspace ablation written into the weights: W ← W − λ UᵀU W for every matrix whose output joins the stream.

That is the embedding (with GPT-2's position embedding), each attention's output matrix and each MLP's last one, all
experts of a mixture included, and their biases (Arditi et al. 2024 leave biases and position embeddings as they are;
the form then differs from the hooks). What reads the stream stays as it was, the unembedding too: where it is tied to
the embedding the copy has two matrices.

Where nothing stands between a writer and the stream this *is* the ablation of every site with the same dose, up to
rounding. Where a norm does (Gemma 2 and 3, OLMo 2) no matrix is: the norm divides by the size of what the writer wrote,
and the edit changes that size. Offered there, as approximate, is the edit folded through the norm's gain g,
W ← W − λ G⁻¹Uᵀ U G W: what leaves the norm has the direction that the ablation gives it and another length.
`logit_gap` measures by how much that shows.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.interventions.applying import logits_under
from geoaudit.interventions.edits import ablate_subspace, check_orthonormal
from geoaudit.interventions.scopes import Scope
from geoaudit.model.chat import Rendered
from geoaudit.model.loaded import LoadedModel

_MATRICES: dict[str, tuple[str, str]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma", "gemma2", "gemma3_text", "gemma3", "olmo2"),
        ("self_attn.o_proj.weight", "mlp.down_proj.weight"),
    ),
    "mixtral": ("self_attn.o_proj.weight", "mlp.experts.down_proj"),
    "gpt_neox": ("attention.dense.weight", "mlp.dense_4h_to_h.weight"),
    "gpt2": ("attn.c_proj.weight", "mlp.c_proj.weight"),
}
"""Model type to the last matrix of attention and of the MLP within a block: a row for each row of the architecture
table. Checked against the hook form in the tests."""

_BESIDE_THE_EMBEDDING = {"gpt2": ("transformer.wpe",)}
"""Other modules whose output is added to the token embedding."""


@dataclass(frozen=True, slots=True)
class Writer:
    """One matrix whose output is added to the stream."""

    module: str
    """From the causal language model to the module that holds it."""
    parameter: str
    """Its name within the module. [..., d_model, in] for a linear map; [..., d_model] for embeddings and GPT-2's
    Conv1D."""
    norm: str | None = None
    """From the causal language model to the norm between it and the stream."""


@dataclass(frozen=True, slots=True)
class LogitGap:
    """How far the weight form is from the hook form: logits of the next token on n prompts."""

    n: int
    largest: float
    """Largest absolute difference of a logit, over prompts and vocabulary."""
    rms: float
    """Root mean square of the differences."""
    moved: float
    """Root mean square of what the hook form itself changes: what `rms` is to be compared with."""
    kl: float
    """Mean KL(hook form ‖ weight form) of the next token, nats."""
    same_token: int
    """Prompts whose likeliest token is the same."""


def is_exact(loaded: LoadedModel) -> bool:
    """Whether nothing stands between writer and stream, so that the weight form equals the hook form."""
    return not loaded.architecture.norm_after_writer


def writers(loaded: LoadedModel) -> list[Writer]:
    """Every matrix that writes to the stream, embeddings first, then attention and MLP of each block."""
    row, kind = loaded.architecture, loaded.causal_lm.config.model_type
    found = [Writer(name, "weight") for name in (row.embedding, *_BESIDE_THE_EMBEDDING.get(kind, ()))]
    for layer in range(loaded.n_layers):
        block = f"{row.blocks}.{layer}"
        for path, output in zip(_MATRICES[kind], (row.attention, row.mlp), strict=True):
            module, _, parameter = f"{block}.{path}".rpartition(".")
            found.append(Writer(module, parameter, f"{block}.{output}" if row.norm_after_writer else None))
    return found


@torch.no_grad()
def orthogonalised(loaded: LoadedModel, basis: Tensor, dose: float = 1.0, *, approximate: bool = False) -> LoadedModel:
    """A copy of the model that no longer writes into a subspace; the model itself is left as it is.

    Computed in float32 and cast back to the stored dtype: below float32 each weight is off by its own rounding. An
    unmerged LoRA adapter is edited with its base. A tied unembedding is untied in the copy and its config, so that the
    copy can be saved and loaded.

    Args:
        loaded: any model of the architecture table.
        basis: U, orthonormal rows [k, d_model].
        dose: λ of every writer.
        approximate: take the folded edit where a norm follows the writer.

    Returns:
        The copy with the same tokenizer and chat format.

    Raises:
        RequestError: a basis that does not fit; a norm behind the writers and not `approximate`; an adapter other than
            plain LoRA on a writer.
    """
    check(loaded, basis, approximate)
    edited = LoadedModel(copy.deepcopy(loaded.model), loaded.tokenizer, loaded.chat)
    for writer in writers(edited):
        remove = removal(edited, writer, basis, dose)
        module = edited.causal_lm.get_submodule(writer.module)
        for owner, name, axis in _parameters(module, writer):
            old = getattr(owner, name)
            # a parameter of its own: what was tied to the old one keeps it
            setattr(owner, name, nn.Parameter(remove(old, axis), requires_grad=False))
    config = edited.causal_lm.config
    for each in (config, config.get_text_config()):
        each.tie_word_embeddings = False
    return edited


def logit_gap(
    loaded: LoadedModel, weight_form: LoadedModel, basis: Tensor, rendered: Sequence[Rendered], dose: float = 1.0
) -> LogitGap:
    """The weight form against subspace ablation of every site by hooks, at the last token of each prompt.

    Args:
        loaded: the model as it is.
        weight_form: the same one with the edit in its weights (`orthogonalised`, or a saved adapter on its base).
        basis: U, orthonormal rows [k, d_model].
        rendered: n prompts.
        dose: λ of both.

    Raises:
        NothingToMeasure: logits that are not finite.
        RequestError: no prompts.
    """

    def nothing(x: Tensor) -> Tensor:
        return x

    scope = Scope()
    plain = logits_under(loaded, rendered, nothing, scope)
    hooks = logits_under(loaded, rendered, lambda x: ablate_subspace(x, basis, dose), scope)
    weights = logits_under(weight_form, rendered, nothing, scope)
    if not (plain + hooks + weights).isfinite().all():
        raise NothingToMeasure("logits are NaN or infinite, without the edit or under one of its forms")
    off, moved = (weights - hooks).double(), (hooks - plain).double()
    p, q = (logits.double().log_softmax(dim=-1) for logits in (hooks, weights))
    return LogitGap(
        n=len(rendered),
        largest=float(off.abs().max()),
        rms=float(off.square().mean().sqrt()),
        moved=float(moved.square().mean().sqrt()),
        kl=float((p.exp() * (p - q)).sum(dim=-1).mean()),
        same_token=int((hooks.argmax(dim=-1) == weights.argmax(dim=-1)).sum()),
    )


def check(loaded: LoadedModel, basis: Tensor, approximate: bool) -> None:
    """That a basis fits the model and that its weight form is exact, or asked for as approximate.

    Raises:
        RequestError: it is not so.
    """
    if basis.ndim != 2 or basis.shape[1] != loaded.d_model or not 1 <= len(basis) <= loaded.d_model:
        raise RequestError(
            f"a basis has orthonormal rows [k, {loaded.d_model}] for this model; got shape {tuple(basis.shape)}"
        )
    check_orthonormal(basis.float())
    if not (is_exact(loaded) or approximate):
        raise RequestError(
            f"in a {loaded.causal_lm.config.model_type} a norm stands between attention or MLP and the stream, so no "
            "edit of the weights equals the ablation: edit by hooks, or pass approximate=True and report logit_gap()"
        )


def removal(loaded: LoadedModel, writer: Writer, basis: Tensor, dose: float) -> Callable[[Tensor, int], Tensor]:
    """The function (tensor, axis of the stream) to the tensor without the subspace, in its own dtype."""
    read, wrote = folded(loaded, writer, basis)

    def remove(old: Tensor, axis: int) -> Tensor:
        dtype = torch.promote_types(old.dtype, torch.float32)
        weight, u, v = (each.to(device=old.device, dtype=dtype) for each in (old, read, wrote))
        along = (weight @ u.T) @ v if axis == -1 else v.T @ (u @ weight)
        return (weight - dose * along).to(old.dtype)

    return remove


def folded(loaded: LoadedModel, writer: Writer, basis: Tensor) -> tuple[Tensor, Tensor]:
    """(U G, U G⁻¹), each [k, d_model] float32: what is read off a writer's output, and along what it is taken away.

    G is the gain of the norm behind the writer; both are U where there is none. A coordinate whose gain is 0 never
    reaches the stream and is left alone.
    """
    rows = basis.float()
    if writer.norm is None:
        return rows, rows
    # at a vector of ones, whose root mean square is 1, an RMS norm shows its gain (Gemma stores it less 1)
    ones = torch.ones(1, loaded.d_model, device=loaded.device)
    gain = copy.deepcopy(loaded.causal_lm.get_submodule(writer.norm)).float()(ones)[0].to(rows.device)
    return rows * gain, torch.where(gain == 0, 0, rows / gain)


def _parameters(module: nn.Module, writer: Writer) -> list[tuple[nn.Module, str, int]]:
    """(owner, name, axis of the stream) of each tensor to edit: weight and bias, and B of a LoRA adapter on them."""
    from peft.tuners.lora.layer import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    found: list[tuple[nn.Module, str, int]] = []
    plain: Any = module
    if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper):
        adapted: Any = module
        if not isinstance(module, LoraLayer) or adapted.lora_variant or writer.parameter != "weight":
            raise RequestError(
                f"the adapter on {writer.module} is a {type(module).__name__}, whose output is not what W + B A gives: "
                "merge the adapter into its base first"
            )
        plain = adapted.get_base_layer()
        for each in adapted.lora_B.values():
            found.append((each, "weight", -2))
            if each.bias is not None:
                found.append((each, "bias", -1))
        found += [(adapted.lora_embedding_B, name, -2) for name in adapted.lora_embedding_B]
    found.append((plain, writer.parameter, stream_axis(plain)))
    if getattr(plain, "bias", None) is not None:
        found.append((plain, "bias", -1))
    return found


def stream_axis(module: nn.Module) -> int:
    """The axis of a writer's matrix along which its output lies: the last of an embedding's and of a Conv1D's."""
    from transformers.pytorch_utils import Conv1D

    return -1 if isinstance(module, nn.Embedding | Conv1D) else -2
