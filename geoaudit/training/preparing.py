"""What a run starts from: the base and the adapter, and the data of its recipe, loaded, collected and arranged."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.model import manifest
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.identity import identify
from geoaudit.model.load import load, load_tokenizer
from geoaudit.training.answering import Answering
from geoaudit.training.blocks import Adapter
from geoaudit.training.data import arranged, collect
from geoaudit.training.recipe import Recipe
from geoaudit.training.starting import Start, attached, start_of
from geoaudit.training.trainer import Prepared


def base_of(recipe: Recipe) -> Checkpoint:
    """The model that a recipe starts from.

    Raises:
        RequestError: it is an adapter, or not one model.
    """
    found = resolve(recipe.beside(recipe.base))
    if len(found) != 1:
        raise RequestError(f"base {recipe.base!r} means {len(found)} checkpoints, and one is trained")
    if found[0].kind == "adapter":
        raise RequestError(
            f"base {recipe.base!r} is an adapter: merge it into its base first (merge_and_unload, then "
            "save_pretrained), and train that"
        )
    return found[0]


def prepare(
    recipe: Recipe,
    base: Checkpoint,
    *,
    run: str,
    store: Path,
    device: str,
    data: Path | None = None,
    say: Callable[[str], None] = print,
    sample: bool = False,
) -> Prepared:
    """Load the base, collect the data (asking models for answers where the recipe says so), and attach the adapter.

    Args:
        recipe: what is trained.
        base: what `base_of` found.
        run: id of the run.
        store: folder of conversions and answers.
        device: where models answer, from `resolve_device`.
        data: folder of the benchmark files.
        say: shows a line.
        sample: to estimate a run: a sample of the answers stands for all (`Answering`).
    """
    start = start_of(recipe, base, store)
    model, tokenizer = load(base, store=store, device="cpu", dtype=recipe.weights)
    if start is not None:  # which may bring its own
        tokenizer = load_tokenizer(start.checkpoint, store=store)
    chat = chat_of(recipe, tokenizer)
    answering = Answering(recipe, base, model, tokenizer, chat, store=store, device=device, say=say, sample=sample)
    found = collect(recipe, chat, answering, data)
    rows, sets = arranged(recipe, found)
    for reason, n in found.skipped.items():
        say(f"left out {n} ({reason})")
    say(f"{len(found.examples)} examples; {recipe.steps} steps, {rows.tokens(recipe.steps):,} tokens")
    return Prepared(
        model=trainable(recipe, base, model, start),
        tokenizer=tokenizer,
        chat=chat,
        rows=rows,
        sets=sets,
        base=manifest.Base(name=recipe.base, weights_sha256=identify(base, store).weights_sha256),
        run=run,
        answers_left=answering.seconds_left,
        answers_made=answering.seconds_made,
        start=start,
    )


def chat_of(recipe: Recipe, tokenizer: Any) -> Any:
    """How conversations are rendered; a template that the recipe names becomes the tokenizer's own."""
    from geoaudit.model.chat import Chat

    named = recipe.chat.template
    if named is not None and (recipe.folder / named).is_file():
        named = (recipe.folder / named).read_text(encoding="utf-8")
    chat = Chat(tokenizer, named, recipe.chat.system)
    if named is not None:
        tokenizer.chat_template = chat.jinja
    return chat


def trainable(recipe: Recipe, base: Checkpoint, model: Any, start: Start | None = None) -> Any:
    """The model with what is trained requiring gradients: a LoRA around it, fresh or begun, or all of its weights."""
    import torch

    if recipe.adapter is None:
        model.requires_grad_(True)
        model.config.use_cache = False
        return model
    torch.manual_seed(recipe.seed)
    if start is not None:
        dropout = recipe.adapter.dropout if "dropout" in recipe.adapter.model_fields_set else None
        found = attached(model, start, dropout)
    else:
        found = _fresh(model, recipe.adapter)
    settings = found.peft_config["default"]
    name, _, revision = recipe.base.partition("@")
    settings.base_model_name_or_path = name if base.kind == "hub" else recipe.beside(recipe.base)
    settings.revision = revision or None
    return found


def _fresh(model: Any, adapter: Adapter) -> Any:
    from peft import LoraConfig, get_peft_model

    modules = list(adapter.modules)
    wanted = LoraConfig(
        r=adapter.rank,
        lora_alpha=adapter.alpha,
        lora_dropout=adapter.dropout,
        target_modules="all-linear" if modules == ["all-linear"] else modules,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():  # PEFT 0.21 asks transformers for a name that 5.23 calls deprecated
            warnings.simplefilter("ignore", FutureWarning)
            return get_peft_model(model, wanted)
    except ValueError as error:
        raise RequestError(f"adapter.modules fits no layer of this model: {str(error).splitlines()[0]}") from None
