"""Speed, side by side in one run: medians and ratios, on whatever machine this is.

make bench
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path


def seconds(action: Callable[[], object], repeats: int) -> list[float]:
    found = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        found.append(time.perf_counter() - started)
    return found


def alternate(name: str, reference: Callable[[], object], ours: Callable[[], object], repeats: int) -> None:
    """Time two actions in turn, so that both see the same machine."""
    pairs = [(seconds(reference, 1)[0], seconds(ours, 1)[0]) for _ in range(repeats)]
    one, other = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"{name}: reference {one:.3f} s, ours {other:.3f} s, ratio {ratio:.2f} (median of {repeats})")


def inactive_plugin() -> None:
    """Bare pytest against pytest with the plugin loaded and unused."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "test_nothing.py").write_text("def test_nothing():\n    pass\n", encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", folder]

        def run(*extra: str) -> Callable[[], object]:
            return lambda: subprocess.run([*command, *extra], check=True, stdout=subprocess.DEVNULL, cwd=folder)

        run()()
        pairs = [(seconds(run("-p", "no:geoaudit"), 1)[0], seconds(run(), 1)[0]) for _ in range(15)]
        added = statistics.median(ours - bare for bare, ours in pairs)
        bare = statistics.median(bare for bare, _ in pairs)
        print(f"plugin unused: bare pytest {bare:.3f} s, with the plugin {1000 * added:+.0f} ms (median of 15 pairs)")


def generation() -> None:
    """Greedy completions: transformers' generate in batches of 8 and of 64, and ours in its batches."""
    import torch
    from platformdirs import user_cache_path
    from transformers import GenerationConfig

    from geoaudit.measures.bench import GENERATION_BATCH
    from geoaudit.model.chat import Chat
    from geoaudit.model.checkpoint import resolve
    from geoaudit.model.generate import complete
    from geoaudit.model.load import load
    from geoaudit.model.loaded import LoadedModel
    from geoaudit.prompts.sources import load as prompts

    model, tokenizer = load(
        resolve("smollm2-135m")[0], store=user_cache_path("geoaudit"), device="cpu", dtype="bfloat16"
    )
    loaded = LoadedModel(model, tokenizer, Chat(tokenizer))
    rendered = [loaded.chat.render(prompt.text) for prompt in prompts("harmful", data=None).first(64).prompts]
    tokenizer.padding_side = "left"
    settings = GenerationConfig(do_sample=False, max_new_tokens=32, pad_token_id=tokenizer.pad_token_id)

    @torch.no_grad()
    def reference(size: int) -> None:
        ordered = sorted(rendered, key=lambda one: len(one.ids))
        for start in range(0, len(ordered), size):
            batch = tokenizer.pad(
                {"input_ids": [list(one.ids) for one in ordered[start : start + size]]}, return_tensors="pt"
            )
            model.generate(**batch, generation_config=settings)

    def ours() -> None:
        for start in range(0, len(rendered), GENERATION_BATCH):
            batch = rendered[start : start + GENERATION_BATCH]
            complete(loaded, batch, [str(i) for i in range(len(batch))], max_new_tokens=32)

    ours()
    alternate("64 completions of 32 tokens, generate in batches of 8", lambda: reference(8), ours, 3)
    alternate("64 completions of 32 tokens, generate in one batch of 64 by length", lambda: reference(64), ours, 3)


if __name__ == "__main__":
    inactive_plugin()
    generation()
