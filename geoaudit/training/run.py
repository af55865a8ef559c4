"""One training run from its recipe: everything that is loaded, collected and checked around the loop."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_cache_path

from geoaudit.audit.record import write_atomically
from geoaudit.errors import RequestError
from geoaudit.model import manifest
from geoaudit.model.checkpoint import Checkpoint, resolve
from geoaudit.model.identity import identify
from geoaudit.model.load import load, load_tokenizer, resolve_device
from geoaudit.records import digest
from geoaudit.training import resuming, saving
from geoaudit.training.answering import Answering
from geoaudit.training.blocks import Adapter
from geoaudit.training.data import arranged, collect
from geoaudit.training.recipe import Recipe
from geoaudit.training.starting import Start, attached, start_of
from geoaudit.training.trainer import Prepared, Training

if TYPE_CHECKING:
    from geoaudit.training.estimate import Estimate

_RUN = "run.json"
"""Under `.resume`: which run the folder holds."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = True,
    progress: Callable[[str], None] = print,
    store: Path | None = None,
    device: str = "auto",
    data: Path | None = None,
) -> list[Path]:
    """Run a recipe to its end, from where an earlier run of it in the same folder stopped.

    Args:
        recipe: what is trained.
        out: folder of the checkpoints, `step<N>/` each.
        resume: whether to go on with what `out` holds; False removes the checkpoints of an earlier run first.
        progress: shows a line; called by the first process only.
        store: folder of conversions and of a model's own answers; None for the user's cache.
        device: `cpu`, or `auto` for an accelerator where there is one.
        data: folder of the benchmark files.

    Returns:
        The folders of the checkpoints, in the order of their steps.

    Raises:
        RequestError: `out` holds another run, or what the recipe asks for is not there.
        BrokenCheckpoint: the loss became NaN or infinite, or the base's weights are broken.
    """
    quiet = progress if resuming.rank() == 0 else _silent
    store = store if store is not None else user_cache_path("geoaudit")
    with _process_group():
        return _train(recipe, out, fresh=not resume, say=quiet, store=store, where=resolve_device(device), data=data)


def _train(
    recipe: Recipe, out: Path, *, fresh: bool, say: Callable[[str], None], store: Path, where: str, data: Path | None
) -> list[Path]:
    base = base_of(recipe)
    weights = identify(base, store).weights_sha256
    if (start := start_of(recipe, base, store)) is not None:
        weights = digest([weights, start.weights_sha256])
    run = claimed(out, recipe, weights, fresh=fresh, cpu=where == "cpu")
    if finished(recipe, out, run):
        say(f"{out} holds this run, finished: nothing to do (--fresh trains it again)")
        return checkpoints(out, run)
    prepared = prepare(recipe, base, run=run, store=store, device=where, data=data, say=say)
    same_data(out, prepared)
    training = kind(recipe, data)(
        recipe,
        prepared,
        out,
        say=say,
        callbacks=monitors(recipe, prepared, out, store, data, say),
        device=where,
    )
    whole = training.run()
    if whole and training.is_world_process_zero():
        resuming.clear(out / resuming.FOLDER)
    if not whole:
        say(f"stopped behind step {training.state.global_step}; the same command goes on from there")
    return checkpoints(out, run)


def checkpoints(out: Path, run: str) -> list[Path]:
    """The checkpoints of a run in a folder, in the order of their steps."""
    found = {path: manifest.read(path) for path in out.glob("step*/")}
    mine = {path: one.step or 0 for path, one in found.items() if one is not None and one.run == run}
    return sorted(mine, key=lambda path: mine[path])


@contextmanager
def _process_group() -> Iterator[None]:
    """Take down the process group that a run of several processes sets up; gloo's threads abort a process that ends."""
    import torch.distributed as dist

    before = dist.is_available() and dist.is_initialized()
    yield
    if not before and dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def kind(recipe: Recipe, data: Path | None = None) -> Callable[..., Training]:
    """What makes the loop of a recipe from recipe, prepared start and folder."""
    if recipe.recipe == "r2d2":
        from geoaudit.training.r2d2 import R2D2Training

        return partial(R2D2Training, data=data)
    return Training


def dry_run(recipe: Recipe, **how: Any) -> Estimate:
    """What a run will cost: see `estimate.dry_run`, which is heavier to import."""
    from geoaudit.training import estimate

    return estimate.dry_run(recipe, **how)


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


def monitors(
    recipe: Recipe, prepared: Prepared, out: Path, store: Path, data: Path | None, say: Callable[[str], None]
) -> list[Any]:
    """The monitor that the recipe asks for, if it does."""
    if recipe.monitor is None:
        return []
    from geoaudit.training.monitor import Monitor

    settings = recipe.monitor.within(recipe.folder)
    if settings.system is None:  # as the conversations are rendered
        settings = settings.model_copy(update={"system": recipe.chat.system})
    return [Monitor(settings, out=out / "monitor", store=store, tokenizer=prepared.tokenizer, data=data, say=say)]


# --- the folder ------------------------------------------------------------------------------------------------------


def claimed(out: Path, recipe: Recipe, weights_sha256: str, *, fresh: bool, cpu: bool) -> str:
    """Mark the folder as this recipe's, or find that it is: the run's id, the same in every process.

    Args:
        out: the folder.
        recipe: what is trained.
        weights_sha256: of the weights that it starts from: the base's, and those of an adapter under `start`.
        fresh: whether an earlier run in it is removed.
        cpu: whether the processes talk over the CPU.

    Raises:
        RequestError: it holds the run of another recipe, or checkpoints that are of none.
    """
    if resuming.processes() == 1:
        return _claim(out, recipe, weights_sha256, fresh=fresh)
    from accelerate import PartialState

    state = PartialState(cpu=cpu)
    with state.main_process_first():
        return _claim(out, recipe, weights_sha256, fresh=fresh and state.is_main_process)


def _claim(out: Path, recipe: Recipe, weights_sha256: str, *, fresh: bool) -> str:
    if out.exists() and not out.is_dir():
        raise RequestError(f"{out} is a file: name a folder for the checkpoints with --out")
    if fresh:
        remove(out)
    path = out / resuming.FOLDER / _RUN
    made_of = digest([recipe.sha256, weights_sha256])
    if path.is_file():
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["recipe"] == made_of:
            return str(kept["run"])
        if resuming.latest(out) is not None or any(out.glob("step*/")):
            raise RequestError(
                f"{out} holds the run of another recipe or base or start ({kept['run']}): name another folder with "
                "--out, or remove that run with --fresh"
            )
        remove(out)  # a run that ended before its first step, say for want of a file
    if there := sorted(out.glob("step*/")):
        raise RequestError(
            f"{out} holds checkpoints of another origin ({there[0].name}): name another folder with --out, or remove "
            "them with --fresh"
        )
    created = datetime.now(UTC).isoformat()
    run = f"{recipe.name}-{digest([made_of, created])[:8]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"recipe": made_of, "run": run, "created": created}), encoding="utf-8")
    return run


def same_data(out: Path, prepared: Prepared) -> None:
    """Keep the hash of what the run runs, or see that it is what it was before a kill.

    Raises:
        RequestError: a file, a set of prompts or a model's own answers have changed since.
    """
    path = out / resuming.FOLDER / _RUN
    kept = json.loads(path.read_text(encoding="utf-8"))
    found = prepared.rows.sha256
    if resuming.latest(out) is not None and kept.get("data", found) != found:
        raise RequestError(
            f"the data is not what {out} was begun with: put the files back as they were, or start anew with --fresh"
        )
    if resuming.rank() == 0:
        write_atomically(path, json.dumps({**kept, "data": found}))


def finished(recipe: Recipe, out: Path, run: str) -> bool:
    """Whether every checkpoint of the recipe is there, of this run."""
    return {saving.path(out, step) for step in recipe.saved} <= set(checkpoints(out, run))


def kept(out: Path) -> str:
    """What an interrupted run has left, for a person."""
    state = resuming.latest(out)
    if state is None:
        return "nothing was kept before the first `resume_every` steps, and the same command begins again"
    return f"the same command goes on behind step {resuming.step_of(state)}"


def remove(out: Path) -> None:
    """Remove an earlier run from a folder: its state, and checkpoints that a training manifest lies in."""
    shutil.rmtree(out / resuming.FOLDER, ignore_errors=True)
    shutil.rmtree(out / "monitor", ignore_errors=True)
    for path in out.glob("step*/"):
        if (path / manifest.FILE).is_file():
            shutil.rmtree(path)


def _silent(line: str) -> None:
    """What processes but the first say."""
