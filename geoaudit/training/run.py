"""One training run from its recipe: what is prepared, checked and cleared away around the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from geoaudit.model.identity import identify
from geoaudit.model.load import resolve_device
from geoaudit.records import digest
from geoaudit.training import folder, resuming
from geoaudit.training.preparing import base_of, prepare
from geoaudit.training.recipe import Recipe
from geoaudit.training.starting import start_of
from geoaudit.training.trainer import Prepared, Training


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
    run = folder.claimed(out, recipe, weights, fresh=fresh, cpu=where == "cpu")
    if folder.finished(recipe, out, run):
        say(f"{out} holds this run, finished: nothing to do (--fresh trains it again)")
        return folder.checkpoints(out, run)
    prepared = prepare(recipe, base, run=run, store=store, device=where, data=data, say=say)
    folder.same_data(out, prepared)
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
    return folder.checkpoints(out, run)


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


def _silent(line: str) -> None:
    """What processes but the first say."""
