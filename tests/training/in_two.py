"""What each of several processes does that train under a monitor (`launched`)."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from geoaudit.errors import GeoauditError
from geoaudit.training import Monitor
from tests.training.monitored import SETTINGS, refusal_id, trainer


class Fails(Monitor):
    """Its second probe fails, in the one process that probes."""

    def _probe(self, model: Any, state: Any) -> bool:
        if state.global_step:
            raise GeoauditError("on purpose")
        return super()._probe(model, state)


def main(folder: str, out: Path) -> None:
    """Train, stop on a bound, and write down what this process saw; then the same with a probe that fails."""
    torch.manual_seed(0)
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    fields = {**SETTINGS, "every": 1, "refusals": [refusal_id(tokenizer)], "store": out / "store"}
    bound = {"quantity": "refusal_harmful", "at_most": -100, "patience": 3}  # broken at 0, 1 and 2
    watching = Monitor(out=out / "curve", stop=[bound], say=lambda line: None, **fields)
    run = trainer(model, tokenizer, out / "run", [watching], max_steps=6)
    run.train()
    curve = watching.curve
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])
    report = {
        "world": torch.distributed.get_world_size(),
        "steps": run.state.global_step,
        "points": None if curve is None else [point.step for point in curve.points],
        "weights": hashlib.sha256(flat.numpy().tobytes()).hexdigest(),
    }
    failing = trainer(model, tokenizer, out / "run2", [Fails(out=out / "c2", say=lambda line: None, **fields)])
    try:
        failing.train()
        report["failed"] = False
    except GeoauditError:
        report["failed"] = True
    (out / f"rank{os.environ['RANK']}.json").write_text(json.dumps(report))
