"""The folder of a run: whose it is, what it holds of it, and what is removed from it."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

from geoaudit.audit.record import write_atomically
from geoaudit.errors import RequestError
from geoaudit.model import manifest
from geoaudit.records import digest
from geoaudit.training import resuming, saving
from geoaudit.training.recipe import Recipe
from geoaudit.training.trainer import Prepared

_RUN = "run.json"
"""Under `.resume`: which run the folder holds."""


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


def checkpoints(out: Path, run: str) -> list[Path]:
    """The checkpoints of a run in a folder, in the order of their steps."""
    found = {path: manifest.read(path) for path in out.glob("step*/")}
    mine = {path: one.step or 0 for path, one in found.items() if one is not None and one.run == run}
    return sorted(mine, key=lambda path: mine[path])


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
