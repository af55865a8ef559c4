"""Make a checkpoint that refuses: a small LoRA on smollm2-135m, trained on the built-in `tune` prompts.

    python examples/safety_tune.py                    # under four minutes on two cores
    pytest --geoaudit-model=examples/safety-adapter

Harmful prompts get short refusals in several wordings, harmless ones the untouched model's own answers, so that the
rest of the model stays as it is. Nothing that an audit scores is trained on; the manifest beside the adapter lists what
was, by hash.
"""

from __future__ import annotations

import argparse
import random
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from platformdirs import user_cache_path

from geoaudit.model import manifest
from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.generate import complete
from geoaudit.model.identity import identify
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_prompts

BASE = "smollm2-135m"
SETS = ("tune-harmful", "tune-harmless")
MODULES = ["q_proj", "k_proj", "v_proj", "o_proj"]
RECIPE = {
    "method": f"LoRA, r 8, alpha 16, on {', '.join(MODULES)}, without dropout",
    "optimiser": "AdamW, learning rate 2e-3, 5 steps of warm-up, then linear decay, batches of 8",
    "loss": "answers only; harmless answers are the untouched model's own, of 40 tokens",
}
Example = tuple[list[int], list[int]]
"""Token ids and labels (−100 where there is no loss)."""


def examples(loaded: LoadedModel) -> list[Example]:
    """Refusals of harmful prompts, and the untouched model's own answers to harmless ones."""
    harmful, harmless = (load_prompts(name) for name in SETS)
    found = [example(loaded, prompt.text, prompt.target, stopped=True) for prompt in harmful.prompts]
    rendered = [loaded.chat.render(prompt.text) for prompt in harmless.prompts]
    ids = [prompt.id for prompt in harmless.prompts]
    for start in range(0, len(rendered), 64):
        batch = slice(start, start + 64)
        answers = complete(loaded, rendered[batch], ids[batch], max_new_tokens=40)
        for prompt, answer in zip(harmless.prompts[batch], answers, strict=True):
            found.append(example(loaded, prompt.text, answer.text, stopped=answer.stopped))
        print(f"own answers: {min(start + 64, len(rendered))}/{len(rendered)}", flush=True)
    return found


def example(loaded: LoadedModel, prompt: str, answer: str, *, stopped: bool) -> Example:
    """One training example; the end of the turn is learnt only where the answer really ended."""
    prefix = list(loaded.chat.render(prompt).ids)
    ids = loaded.tokenizer(answer, add_special_tokens=False)["input_ids"]
    ids = [*ids, loaded.tokenizer.eos_token_id] if stopped else ids
    return prefix + ids, [-100] * len(prefix) + ids


def batch_loss(model: torch.nn.Module, batch: list[Example]) -> torch.Tensor:
    """Mean cross-entropy of the answers' tokens, right-padded."""
    width = max(len(ids) for ids, _ in batch)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in batch])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in batch])
    labels = torch.tensor([labels + [-100] * (width - len(labels)) for _, labels in batch])
    loss: torch.Tensor = model(input_ids=ids, attention_mask=mask, labels=labels).loss
    return loss


def train(loaded: LoadedModel, data: list[Example], steps: int, seed: int) -> torch.nn.Module:
    """The LoRA model after `steps` optimiser steps."""
    torch.manual_seed(seed)
    order = random.Random(seed)
    model = get_peft_model(loaded.model, LoraConfig(r=8, lora_alpha=16, target_modules=MODULES, task_type="CAUSAL_LM"))
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / 5, (steps - step) / max(1, steps - 5))
    )
    queue: list[Example] = []
    started = time.monotonic()
    for step in range(steps):
        if len(queue) < 8:
            queue = order.sample(data, len(data))
        batch, queue = queue[:8], queue[8:]
        loss = batch_loss(model, batch)
        loss.backward()
        optimiser.step()
        schedule.step()
        optimiser.zero_grad()
        if step % 10 == 9 or step == steps - 1:
            left = (time.monotonic() - started) / (step + 1) * (steps - step - 1)
            print(f"step {step + 1}/{steps}  loss {loss.item():.3f}  about {left:.0f} s left", flush=True)
    return model


def main() -> None:
    """Train, save the adapter in bf16 without a tokenizer, write the manifest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "safety-adapter", help="adapter folder")
    parser.add_argument("--steps", type=int, default=100, help="optimiser steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=42, help="(default: %(default)s)")
    arguments = parser.parse_args()

    store = user_cache_path("geoaudit")
    base = resolve(BASE)[0]
    model, tokenizer = load(base, store=store, device="cpu", dtype="float32")
    loaded = LoadedModel(model, tokenizer, Chat(tokenizer))
    trained = train(loaded, examples(loaded), arguments.steps, arguments.seed)
    trained.peft_config["default"].base_model_name_or_path = BASE
    card = arguments.out / "README.md"
    written = card.read_bytes() if card.is_file() else b""
    # without embeddings: they were not trained, and peft would look for the base on the hub to make sure
    trained.to(torch.bfloat16).save_pretrained(arguments.out, save_embedding_layers=False)
    card.write_bytes(written)  # in place of peft's empty form
    manifest.write(
        manifest.TrainingManifest(
            geoaudit_training=1,
            recipe="safety-sft",
            base=manifest.Base(name=BASE, weights_sha256=identify(base, store).weights_sha256),
            steps=arguments.steps,
            seed=arguments.seed,
            hyperparameters=RECIPE,
            prompt_sets={
                one.name: manifest.TrainedOn(
                    sha256=one.sha256, n=len(one), prompts=tuple(prompt.sha256 for prompt in one.prompts)
                )
                for one in map(load_prompts, SETS)
            },
            versions={name: version(name) for name in ("torch", "transformers", "peft")},
            created=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
        arguments.out,
    )
    print(f"saved to {arguments.out}")


if __name__ == "__main__":
    main()
