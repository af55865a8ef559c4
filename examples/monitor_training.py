"""Watch refusal form, and spill over, in anyone's own training: a plain `transformers.Trainer` with a `Monitor`.

    python examples/monitor_training.py               # a few minutes on two cores
    open monitored/monitor/monitor.html

A LoRA on smollm2-135m learns short refusals of harmful prompts and nothing else, which is how models come to refuse
everything. The monitor reads the dense probe every five steps and stops the training once harmless requests are more
likely refused than not. The prompts that it reads are none of those that are trained on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from platformdirs import user_cache_path
from transformers import Trainer, TrainingArguments

from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load
from geoaudit.prompts.sources import load as load_prompts
from geoaudit.training import Monitor

MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]


def refusals(tokenizer: Any) -> list[dict[str, list[int]]]:
    """The built-in harmful training prompts with their refusals; loss on the refusals only."""
    chat = Chat(tokenizer)
    found = []
    for prompt in load_prompts("tune-harmful").prompts:
        asked = list(chat.render(prompt.text).ids)
        answer = [*tokenizer(prompt.target, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
        found.append({"input_ids": asked + answer, "labels": [-100] * len(asked) + answer})
    return found


def padded(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """A batch, padded on the right."""
    width = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "labels": -100}
    batch = {
        name: torch.tensor([row[name] + [pad] * (width - len(row[name])) for row in rows]) for name, pad in fill.items()
    }
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    return {**batch, "attention_mask": (torch.arange(width) < lengths[:, None]).long()}


def main() -> None:
    """Train until harmless requests are refused, or to the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("monitored"), help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=40, help="optimiser steps, at most (default: %(default)s)")
    parser.add_argument("--every", type=int, default=5, help="steps between two probes (default: %(default)s)")
    parser.add_argument("--preset", default="tiny", help="tiny, small or paper (default: %(default)s)")
    arguments = parser.parse_args()

    base = resolve("smollm2-135m")[0]
    model, tokenizer = load(base, store=user_cache_path("geoaudit"), device="cpu", dtype="float32")
    torch.manual_seed(42)
    model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM"))
    monitor = Monitor(
        preset=arguments.preset,
        every=arguments.every,
        stop=[{"quantity": "refusal_harmless", "at_most": 0.0}],
    )
    Trainer(
        model,
        TrainingArguments(
            output_dir=str(arguments.out),
            max_steps=arguments.steps,
            per_device_train_batch_size=8,
            learning_rate=1e-3,
            lr_scheduler_type="constant",
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            use_cpu=True,
            seed=42,
        ),
        train_dataset=refusals(tokenizer),  # type: ignore[arg-type]  # a list serves as a data set
        data_collator=padded,
        processing_class=tokenizer,
        callbacks=[monitor],
    ).train()


if __name__ == "__main__":
    main()
