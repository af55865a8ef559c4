"""Short real training runs of tiny models under a monitor."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from geoaudit.prompts.sources import load
from tests.model.planted import REFUSAL, Planted

SETTINGS: dict[str, Any] = {
    "every": 2,
    "n_train": 8,
    "n_validation": 4,
    "layers": [2, 3],
    "positions": 2,
}


def opened(planted: Planted, **settings: Any) -> tuple[Any, Any]:
    """Model and tokenizer, as anyone would load them."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(planted.folder, **settings)
    return model, AutoTokenizer.from_pretrained(planted.folder)


def refusal_id(tokenizer: Any) -> int:
    """The token with which the planted model refuses."""
    return int(tokenizer.convert_tokens_to_ids(REFUSAL))


def examples(tokenizer: Any, n: int = 12) -> list[list[int]]:
    """Rendered requests to train on."""
    texts = [prompt.text for prompt in load("probe-harmless-train").prompts[-n:]]
    return [tokenizer.apply_chat_template([{"role": "user", "content": text}], return_dict=False) for text in texts]


def collated(rows: Sequence[list[int]]) -> dict[str, torch.Tensor]:
    """Padded on the right, loss on everything."""
    width = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
    return {"input_ids": ids, "labels": ids}


def trainer(model: Any, tokenizer: Any, folder: Path, callbacks: Sequence[Any], **settings: Any) -> Trainer:
    """A plain Trainer: 4 steps of 2 examples at a rate that moves the weights."""
    chosen: dict[str, Any] = {
        "max_steps": 4,
        "per_device_train_batch_size": 2,
        "learning_rate": 1e-3,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        "seed": 7,
        **settings,
    }
    return Trainer(
        model,
        TrainingArguments(output_dir=str(folder), **chosen),
        train_dataset=examples(tokenizer),
        data_collator=collated,
        processing_class=tokenizer,
        callbacks=list(callbacks),
    )
