"""The weight form of an ablation as a LoRA adapter: a small folder that PEFT loads on the unedited base.

W − λ UᵀU W = W + B A with A = U W and B = −λ Uᵀ, exact at rank k, for linear maps and for embeddings; the unembedding
keeps the base's matrix even where it is tied. A change of a bias is nothing that LoRA can hold, so edited biases are
stored whole (PEFT's `bias="lora_only"`): they replace the base's, and stay when the adapter is switched off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from geoaudit.errors import RequestError
from geoaudit.interventions.weights import check, folded, removal, stream_axis, writers
from geoaudit.model.loaded import LoadedModel

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"


@torch.no_grad()
def save_adapter(
    loaded: LoadedModel,
    basis: Tensor,
    folder: Path,
    dose: float = 1.0,
    *,
    approximate: bool = False,
    base: str | None = None,
) -> Path:
    """Write the weight form of subspace ablation as a LoRA adapter of rank k.

    The factors are float32. Who loads them in a narrower dtype rounds A and B apart, and the difference stays behind:
    exact in float32 only, as the copy (`weights.orthogonalised`) is. Do not merge where embeddings are tied: merging
    would edit the unembedding too.

    Args:
        loaded: the base, without an adapter of its own.
        basis: U, orthonormal rows [k, d_model].
        folder: where to; made if it is not there.
        dose: λ of every writer.
        approximate: take the folded edit where a norm follows the writer.
        base: the base's path or hub id for the adapter's config; None leaves it out.

    Returns:
        `folder`, with `adapter_config.json` and `adapter_model.safetensors`.

    Raises:
        RequestError: a basis that does not fit; a norm behind the writers and not `approximate`; a writer that LoRA
            cannot express (experts of a mixture); a model with an adapter; a folder that holds one already.
    """
    from peft import LoraConfig
    from safetensors.torch import save_file

    check(loaded, basis, approximate)
    if loaded.model is not loaded.causal_lm:
        raise RequestError("the model carries an adapter, and adapters of adapters have no base to load on: merge it")
    if (folder / CONFIG).exists():
        raise RequestError(f"{folder} already holds an adapter: name another folder")
    named = {writer: loaded.causal_lm.get_submodule(writer.module) for writer in writers(loaded)}
    if unfit := [f"{writer.module}.{writer.parameter}" for writer in named if writer.parameter != "weight"]:
        raise RequestError(
            f"{unfit[0]} and {len(unfit) - 1} more hold the experts of a mixture in one tensor each, which LoRA has no "
            "form for: edit a copy of the model (orthogonalised)"
        )
    tensors: dict[str, Tensor] = {}
    for writer, module in named.items():
        key = f"base_model.model.{writer.module}"
        read, wrote = folded(loaded, writer, basis)
        weight: Any = module.weight
        a, b = _factors(weight, read, wrote, dose, stream_axis(module))
        if isinstance(module, nn.Embedding):
            tensors |= {f"{key}.lora_embedding_A": a, f"{key}.lora_embedding_B": b}
        else:
            tensors |= {f"{key}.lora_A.weight": a, f"{key}.lora_B.weight": b}
        bias: Any = getattr(module, "bias", None)
        if bias is not None:
            tensors[f"{key}.base_layer.bias"] = removal(loaded, writer, basis, dose)(bias, -1).cpu()
    linear = [module for module in named.values() if not isinstance(module, nn.Embedding)]
    settings = LoraConfig(
        r=len(basis),
        lora_alpha=len(basis),  # scaling 1
        target_modules=[writer.module for writer in named],
        bias="lora_only" if any(name.endswith(".bias") for name in tensors) else "none",
        fan_in_fan_out=any(stream_axis(module) == -1 for module in linear),
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=base,
    ).to_dict()
    written = {name: sorted(value) if isinstance(value, set) else value for name, value in settings.items()}
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(written, indent=2, sort_keys=True), encoding="utf-8")
    return folder


def _factors(weight: Tensor, read: Tensor, wrote: Tensor, dose: float, axis: int) -> tuple[Tensor, Tensor]:
    """A [k, in] and B [d_model, k], float32 on the CPU, with W + B A the edited matrix as a map to the stream."""
    u, v = (each.to(weight.device) for each in (read, wrote))
    wide = weight.float()
    a = u @ (wide.T if axis == -1 else wide)
    return a.contiguous().cpu(), (-dose * v.T).contiguous().cpu()
