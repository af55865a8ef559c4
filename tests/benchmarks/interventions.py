"""A target and its controls at one layer: shared passes against one run each, in one process.

    python tests/benchmarks/run.py interventions [--controls 32] [--prompts 64] [--rounds 3]

The reference is what an audit without them would do: for each edit one run over all prompts, in batches of 64 by
length, without a shared prefix, the output head at every position. Every-site ablation, which skips no layer, is
beside.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from geoaudit.carriers.effects import Asked, Edited
from geoaudit.carriers.passes import Passes
from geoaudit.carriers.scores import Base, refusal_metric
from geoaudit.interventions.edits import ablate
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import Place, edited
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_prompts
from tests.benchmarks.search import add_subject_options, open_subject

BATCH = 64
REFUSAL_IDS = (57,)
"""Any token: what is timed and compared is how scores are made."""


@torch.no_grad()
def one_run_each(
    loaded: LoadedModel, rendered: Sequence[Rendered], directions: Tensor, places: Sequence[Place]
) -> np.ndarray:
    """Refusal scores [C, n], one whole run for each edit."""
    order = sorted(range(len(rendered)), key=lambda i: len(rendered[i].ids))
    scores = np.empty((len(directions), len(rendered)))
    for c, direction in enumerate(directions):
        with edited(loaded, dict.fromkeys(places, lambda x, r=direction: ablate(x, r))):
            for start in range(0, len(order), BATCH):
                part = order[start : start + BATCH]
                batch = loaded.tokenizer.pad(
                    {"input_ids": [list(rendered[i].ids) for i in part]}, padding_side="left", return_tensors="pt"
                )
                logits = loaded.causal_lm(**batch).logits[:, -1].float()
                scores[c, part] = refusal_metric(logits, REFUSAL_IDS)
    return scores


def main(arguments: Sequence[str] = ()) -> None:
    """Run it."""
    parser = argparse.ArgumentParser("run.py interventions", description=__doc__.partition("\n")[0])
    add_subject_options(parser)
    parser.add_argument("--controls", type=int, default=32)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args(arguments)
    loaded = open_subject((options.model or ["smollm2-135m"])[0], options).loaded
    rendered = [
        loaded.chat.render(prompt.text) for prompt in load_prompts("harmful", data=None).first(options.prompts).prompts
    ]
    generator = torch.Generator().manual_seed(0)
    units = torch.randn(options.controls + 1, loaded.d_model, generator=generator)
    units = units / units.norm(dim=-1, keepdim=True)
    layer = loaded.n_layers // 2
    everywhere: list[Place] = [("resid_pre", 0)]
    for index in range(loaded.n_layers):
        everywhere += [("attn_out", index), ("mlp_out", index)]
    print(
        f"refusal scores of {len(rendered)} prompts under {len(units)} edits, {options.dtype}, "
        f"{torch.get_num_threads()} threads; medians of {options.rounds} rounds in turn"
    )
    for name, at, places in (
        (f"one layer ({layer} of {loaded.n_layers})", layer, [("resid_pre", layer)]),
        ("every site", None, everywhere),
    ):
        found: dict[str, np.ndarray] = {}

        def ours(at: int | None = at, found: dict[str, np.ndarray] = found) -> None:
            passes = Passes(loaded, [rendered[0], *rendered], (0,))
            asked = Asked(passes, Base(passes.plain.logits[0, :1]), 1, REFUSAL_IDS)
            edits = Edited("ablate", units[:, None].double().numpy(), at)
            found["ours"] = asked.scores(edits, np.ones(len(units)))

        def theirs(places: Sequence[Place] = places, found: dict[str, np.ndarray] = found) -> None:
            found["reference"] = one_run_each(loaded, rendered, units, places)

        pairs = [(timed(theirs), timed(ours)) for _ in range(options.rounds)]
        reference, own = np.median(np.array(pairs), axis=0)
        ratio = float(np.median([b / a for a, b in pairs]))
        gap = float(np.abs(found["ours"] - found["reference"]).max())
        print(
            f"{name}: one run each {reference:.1f} s, shared passes {own:.1f} s, {ratio:.2f} of it "
            f"(largest difference of a score {gap:.1e} nats)"
        )


def timed(action: Callable[[], None]) -> float:
    """Seconds."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
