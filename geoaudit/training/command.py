"""`geoaudit train`: a trajectory of checkpoints from a recipe, or what that would cost."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from geoaudit.errors import RequestError

INTERRUPTED = 130
"""The shell's code for Ctrl-C."""
AT_ONCE: Callable[[str], None] = partial(print, flush=True)
"""A run takes hours, and may be watched through a pipe."""


def add_to(commands: Any) -> None:
    """Add the command to `geoaudit`'s."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "train",
        help="train a trajectory of checkpoints from a recipe",
        description="Runs a recipe (examples/recipes/README.md has every key) and writes audit-ready checkpoints to "
        "DIR/step<N>. A run that was stopped goes on where it was. Several processes: start it with torchrun or "
        "accelerate launch, -m geoaudit.cli train ...",
        epilog="example: geoaudit train sft examples/recipes/smollm2-cpu-sft.yaml --dry-run",
    )
    parser.add_argument("kind", choices=("sft", "safety-sft", "r2d2"), help="the recipe's own word for what it trains")
    parser.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    parser.add_argument("--out", type=Path, metavar="DIR", help="(default: runs/NAME, the recipe's name)")
    parser.add_argument("--dry-run", action="store_true", help="make a few steps, say what the run costs, and stop")
    parser.add_argument("--fresh", action="store_true", help="remove an earlier run in DIR first")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"), help="(default: %(default)s)")
    parser.add_argument("--store", type=Path, metavar="DIR", help="conversions and answers (default: the cache folder)")
    parser.add_argument("--data", type=Path, metavar="DIR", help="benchmarks (default: GEOAUDIT_DATA)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, show: Callable[[str], None] = AT_ONCE) -> int:
    """The command; lines are shown as they come.

    Raises:
        RequestError: the recipe is none of this kind, or asks for what is not there.
    """
    started = time.monotonic()  # loading the libraries below takes seconds
    from geoaudit.training import recipe

    found = recipe.read(arguments.recipe)
    if found.recipe != arguments.kind:
        raise RequestError(
            f"{arguments.recipe} is a recipe for {found.recipe}: run `geoaudit train {found.recipe} ...`"
        )
    how = {"store": arguments.store, "device": arguments.device, "data": arguments.data}
    if arguments.dry_run:
        from geoaudit.training import estimate

        show("\n".join(estimate.dry_run(found, progress=show, started=started, **how).lines()))
        return 0
    from geoaudit.training import folder, resuming, run

    out = arguments.out or Path("runs", found.name)
    first = resuming.rank() == 0
    try:
        checkpoints = run.train(found, out, resume=not arguments.fresh, progress=show, **how)
    except KeyboardInterrupt:
        if first:
            sys.stderr.write(f"geoaudit: interrupted; {folder.kept(out)}\n")
        return INTERRUPTED
    for checkpoint in checkpoints if first else ():
        show(str(checkpoint))
    return 0
