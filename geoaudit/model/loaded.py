"""A checkpoint in memory: the model, its tokenizer and the chat format it is audited under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoaudit.errors import RequestError, UnsupportedCheckpoint
from geoaudit.model import architecture
from geoaudit.model.architecture import Architecture
from geoaudit.model.chat import Chat


@dataclass
class LoadedModel:
    """What every reading takes: a causal language model (or a PEFT model around one) ready to run.

    Adapters stay unmerged: their layers sit inside the base model's modules, so running the base model runs them, and
    hooks attach to the base model's blocks.

    Raises:
        UnknownArchitecture: the model type is not in the architecture table.
        UnsupportedCheckpoint: the adapter works by virtual tokens (prompt or prefix tuning), which moves positions.
        RequestError: the model is in training mode, where dropout makes every reading random.
    """

    model: Any
    tokenizer: Any
    chat: Chat

    def __post_init__(self) -> None:
        architecture.of(self.model)
        active = getattr(self.model, "active_peft_config", None)
        if active is not None and active.is_prompt_learning:
            raise UnsupportedCheckpoint(
                f"the adapter is of kind {active.peft_type.value}, which puts virtual tokens before the prompt; "
                "geoaudit reads adapters that change modules (LoRA and its relatives): merge or convert it first"
            )
        if self.model.training:
            raise RequestError("the model is in training mode, so dropout would blur every reading: call model.eval()")

    @property
    def causal_lm(self) -> Any:
        """The transformers model with its output head; an adapter's layers, if any, are inside."""
        return architecture.causal_lm(self.model)

    @property
    def architecture(self) -> Architecture:
        """Where this model's residual stream can be read."""
        return architecture.of(self.model)

    @property
    def decoder(self) -> nn.Module:
        """The module that runs embedding, blocks and final norm."""
        return self.causal_lm.get_submodule(self.architecture.decoder)  # type: ignore[no-any-return]

    @property
    def blocks(self) -> nn.ModuleList:
        """The blocks in order; block l reads `resid_pre[l]` and leaves `resid_post[l]`."""
        return self.causal_lm.get_submodule(self.architecture.blocks)  # type: ignore[no-any-return]

    @property
    def embedding(self) -> nn.Module:
        """The token embedding."""
        return self.causal_lm.get_submodule(self.architecture.embedding)  # type: ignore[no-any-return]

    @property
    def n_layers(self) -> int:
        """Number of blocks."""
        return len(self.blocks)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self.causal_lm.config.get_text_config().hidden_size)

    @property
    def device(self) -> torch.device:
        """Where token ids go."""
        return next(self.embedding.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the residual stream."""
        return next(self.embedding.parameters()).dtype

    def logits(self, hidden: Tensor) -> Tensor:
        """The output head on normed decoder outputs: `hidden [..., d_model]` to logits `[..., vocab]`.

        Lets callers pick the positions first: the whole `[batch, length, vocab]` is never made. Gemma's soft cap on
        the logits is applied as its own forward does (agreement is tested for every architecture of the table).
        """
        logits: Tensor = self.causal_lm.get_output_embeddings()(hidden)
        cap = getattr(self.causal_lm.config.get_text_config(), "final_logit_softcapping", None)
        return torch.tanh(logits / cap) * cap if cap is not None else logits
