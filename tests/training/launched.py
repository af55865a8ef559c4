"""What several processes do together: three short runs, one after another in the processes of one torchrun.

To start two processes takes several times as long as what they do here, so the runs share one start. Each leaves its
results in a folder of its own; where one fails the launch ends, and another begins behind it, so that no run is judged
by what another one did.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from tests.training import in_two, r2d2_tiny, tiny

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 180
"""Seconds after which a process that hangs says where, and ends."""
SFT = {"micro_batch": 1, "checkpoints": [0, 3]}
"""What the short SFT run changes of the recipe."""


def sft(folder: Path, planted: Path) -> None:
    """Short supervised training; each process writes down how many there were."""
    tiny.train(folder, folder / "two", callbacks=(tiny.World(folder),), **SFT)


def r2d2(folder: Path, planted: Path) -> None:
    """Short adversarial training."""
    r2d2_tiny.main(folder)


def monitored(folder: Path, planted: Path) -> None:
    """Training under a monitor that stops it."""
    in_two.main(str(planted), folder)


RUNS = {run.__name__: run for run in (sft, r2d2, monitored)}


def launch(folder: Path, planted: Path) -> None:
    """All runs in two processes; what a failed one said is in its folder's `failed`.

    Args:
        folder: gets a folder for each run.
        planted: a checkpoint to train under a monitor.
    """
    tiny.write(folder / "sft", **SFT)
    for name in RUNS:
        (folder / name).mkdir(exist_ok=True)
    waiting = list(RUNS)
    while waiting:
        said = _launch(folder, planted, waiting)
        waiting = [name for name in waiting if not all((folder / name / f"done{rank}").exists() for rank in range(2))]
        if waiting:
            (folder / waiting.pop(0) / "failed").write_text(said, encoding="utf-8")


def _launch(folder: Path, planted: Path, names: Sequence[str]) -> str:
    """One start of two processes; what they printed."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""}
    two = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command = [sys.executable, *two, "-m", "tests.training.launched", str(folder), str(planted), *names]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    return f"exit code {done.returncode}\n{done.stderr[-5000:]}"


def main(folder: Path, planted: Path, names: Sequence[str]) -> None:
    """What each of the processes does."""
    faulthandler.dump_traceback_later(LONGEST, exit=True)
    torch.set_num_threads(1)
    for name in names:
        if name != "sft" and not dist.is_initialized():
            # not torchrun's own address: the run before this one has taken its group down, and left its keys there
            rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            dist.init_process_group("gloo", f"file://{folder / name}/group", rank=rank, world_size=world)
        RUNS[name](folder / name, planted)
        assert dist.is_initialized() == (name != "sft"), "`run.train` takes down the group that it set up, no other's"
        (folder / name / f"done{os.environ['RANK']}").touch()
    if dist.is_initialized():
        dist.destroy_process_group()  # whose threads would abort a process that ends


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
