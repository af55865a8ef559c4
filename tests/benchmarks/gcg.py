"""GCG against nanoGCG 0.3.0 in its own environment: seconds a step and the losses of the strings, in one run.

    python tests/benchmarks/run.py gcg [--dtype float32] [--runs 64x10,256x2] [--steps 20] [--environment FOLDER]

Same weights, template, behaviours, targets and first suffix. The two take turns: nanoGCG attacks one behaviour, ours
makes its share of steps on all of them. Both losses are those of the strings that would be sent, tokenised from end to
end by one program. nanoGCG's environment (transformers 4.47.1) is made from the package index where there is none.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path

from geoaudit.attacks import gcg
from geoaudit.attacks.target import Aim, string_losses, suffixed, target_ids
from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_prompts

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("nanogcg==0.3.0", "transformers==4.47.1")
TOPK = 256
START = " ".join("!" * 20)
SAME = {"float32": 1e-3, "bfloat16": 0.1}
"""How far the losses of the same tokens may lie apart in the two environments."""


class Worker:
    """nanoGCG in a process of its own, which does nothing while it is not asked."""

    def __init__(self, command: Sequence[str]) -> None:
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.about = self._answer()

    def ask(self, **job: Any) -> dict[str, Any]:
        """What it says to a job."""
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *args: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("nanoGCG's process ended: see its messages above")
        return json.loads(line)


@dataclass(frozen=True)
class Side:
    """One of the two, over all behaviours of a run."""

    seconds: float
    """Wall time a step and behaviour."""
    cpu: float
    """Processor time a step and behaviour."""
    losses: list[float]
    """Of the final strings, end to end, one a behaviour."""


def environment(folder: Path) -> Path:
    """The Python of an environment with nanoGCG, made in `folder` if it is not there."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making nanoGCG's environment in {folder} ...", flush=True)
        venv.create(folder, with_pip=True)
        pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
        torch_pin = next(line for line in pins if line.startswith("torch=="))
        for packages in ((torch_pin,), (torch_pin, *PACKAGES)):
            subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
    return python


def folder_for_both(loaded: LoadedModel, folder: Path) -> Path:
    """The model's weights, not quantised, with a config that the older transformers reads too."""
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    (folder / "chat_template.jinja").write_text(loaded.tokenizer.chat_template, encoding="utf-8")
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    if config["model_type"] != "llama":
        raise SystemExit(
            f"the benchmark writes Llama models for the older transformers, and this is {config['model_type']}"
        )
    config["rope_theta"] = config["rope_parameters"]["rope_theta"]
    config["torch_dtype"] = config["dtype"]
    path.write_text(json.dumps(config), encoding="utf-8")
    return folder


def compare(
    loaded: LoadedModel, worker: Worker, aims: Sequence[Aim], width: int, steps: int, **changes: Any
) -> tuple[Side, Side, list[float]]:
    """Both on the same behaviours; nanoGCG, ours, and the losses of the start.

    Args:
        loaded: the model, the same as the worker's.
        worker: nanoGCG.
        aims: n behaviours.
        width: candidates a step.
        steps: of both.
        changes: settings of ours.
    """
    settings = gcg.GCG(steps=steps, width=width, topk=TOPK, initial=START, **changes)
    theirs: list[dict[str, Any]] = []
    apart = np.zeros(2)

    def turn(number: int, traces: Sequence[object]) -> None:
        """NanoGCG's share behind each step of ours, whose time is not counted."""
        began = clocks()
        while len(theirs) * steps < number * len(aims):
            aim = aims[len(theirs)]
            job = {"request": f"{aim.request}{{optim_str}}", "target": aim.target, "initial": f" {START}"}
            theirs.append(worker.ask(**job, steps=steps, width=width, topk=TOPK, seed=len(theirs)))
        apart[:] += clocks() - began

    began = clocks()
    traces = gcg.attack(loaded, aims, settings, progress=turn)
    each = steps * len(aims)
    ours = (clocks() - began - apart) / each
    strings = [one["strings"][int(np.argmin(one["losses"]))] for one in theirs]
    sent = string_losses(loaded, aims, [aim.request + text for aim, text in zip(aims, strings, strict=True)])
    own = string_losses(loaded, aims, [trace.best.text for trace in traces])
    nano = Side(sum(one["seconds"] for one in theirs) / each, sum(one["cpu"] for one in theirs) / each, sent.tolist())
    return nano, Side(*ours.tolist(), own.tolist()), [trace.steps[0].loss for trace in traces]


def clocks() -> np.ndarray:
    """Wall and processor time, [2] seconds."""
    return np.array([time.perf_counter(), time.process_time()])


def check_same(loaded: LoadedModel, worker: Worker, aim: Aim) -> float:
    """How far the two losses of the same tokens lie apart; ends the run where it is too far."""
    target = target_ids(loaded, aim.target)
    text = suffixed(aim.request, START)
    theirs = worker.ask(ids=[*loaded.chat.render(text).ids, *target], target=len(target))["loss"]
    gap = abs(theirs - float(string_losses(loaded, [aim], [text])))
    if not gap < SAME[str(loaded.dtype).removeprefix("torch.")]:
        raise SystemExit(f"the two environments give losses {gap:.2g} nats apart for the same tokens")
    return gap


def main(arguments: Sequence[str] = (), command: Sequence[str] | None = None) -> list[tuple[Side, Side, list[float]]]:
    """Run it; `command` starts another process in nanoGCG's place."""
    parser = argparse.ArgumentParser("run.py gcg", description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--source", default="harmful", help="prompts that bring their targets")
    parser.add_argument("--dtype", default="float32", choices=sorted(SAME))
    parser.add_argument("--runs", default="64x10,256x2", help="width x behaviours, separated by commas")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--share", type=float, default=gcg.GCG().share, help="of candidates whose whole target is read")
    parser.add_argument("--draft", action="store_true", help="rank candidates by a bfloat16 copy of a float32 model")
    cache = user_cache_path("geoaudit")
    parser.add_argument("--environment", type=Path, default=cache / "benchmarks" / "nanogcg-0.3.0")
    parser.add_argument("--folder", type=Path, default=cache / "benchmarks" / "weights", help="for the model's weights")
    options = parser.parse_args(arguments)
    model, tokenizer = load(resolve(options.model)[0], store=cache, device="cpu", dtype=options.dtype)
    loaded = LoadedModel(model, tokenizer, Chat(tokenizer))
    if command is None:
        folder = folder_for_both(loaded, options.folder)
        command = [
            str(environment(options.environment)),
            str(Path(__file__).with_name("nanogcg_worker.py")),
            str(folder),
        ]
        command = [*command, options.dtype]
    with Worker(command) as worker:
        return report(loaded, worker, options)


def report(loaded: LoadedModel, worker: Worker, options: argparse.Namespace) -> list[tuple[Side, Side, list[float]]]:
    """Compare and print, for each of the runs that were asked for."""
    runs = [tuple(map(int, run.split("x"))) for run in options.runs.split(",")]
    prompts = load_prompts(options.source, data=None).first(max(n for _, n in runs)).prompts
    aims = [Aim(prompt.id, prompt.text, prompt.target) for prompt in prompts]
    gap = check_same(loaded, worker, aims[0])
    print(
        f"{options.model}, {options.dtype}, {options.steps} steps, targets of "
        f"{min(len(target_ids(loaded, aim.target)) for aim in aims)} to "
        f"{max(len(target_ids(loaded, aim.target)) for aim in aims)} tokens; threads: nanoGCG "
        f"{worker.about['threads']}, "
        f"ours {torch.get_num_threads()}; the same tokens' losses lie {gap:.1e} nats apart"
    )
    print(f"nanoGCG's environment: {worker.about['versions']}; seconds a step and behaviour, wall (processor)")
    found = []
    for width, n in runs:
        made = compare(loaded, worker, aims[:n], width, options.steps, share=options.share, draft=options.draft)
        nano, ours, start = made
        found.append(made)
        print(
            f"width {width} x {n} behaviours: nanoGCG {nano.seconds:.2f} s ({nano.cpu:.2f}), ours {ours.seconds:.2f} s "
            f"({ours.cpu:.2f}), ratio {nano.seconds / ours.seconds:.2f} ({nano.cpu / ours.cpu:.2f}); mean loss of the "
            f"strings as sent: start {np.mean(start):.3f}, nanoGCG {np.mean(nano.losses):.3f}, "
            f"ours {np.mean(ours.losses):.3f}",
            flush=True,
        )
        for name, values in (("start", start), ("nanoGCG", nano.losses), ("ours", ours.losses)):
            print(f"    {name:<8}" + " ".join(f"{value:.3f}" for value in values), flush=True)
    return found
