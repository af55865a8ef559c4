"""Speed, side by side in one run: medians and ratios, on whatever machine this is.

    make bench
    python tests/benchmarks/run.py [plugin] [generation] [search] [interventions] [curves] [memory] [gcg]
    python tests/benchmarks/run.py search --help

Without a name all are run, the search with its reference on every seventh candidate. Options are those of one benchmark
and follow its name.
"""

from __future__ import annotations

import functools
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from geoaudit.model.loaded import LoadedModel

NEW_TOKENS = 32


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
    """Greedy completions of 32 tokens: transformers' generate in batches of 8 and of 64 by length, and ours."""
    import torch
    from platformdirs import user_cache_path
    from transformers import GenerationConfig

    from geoaudit.model.batches import plan
    from geoaudit.model.chat import Chat, Rendered
    from geoaudit.model.checkpoint import resolve
    from geoaudit.model.generate import complete
    from geoaudit.model.load import load
    from geoaudit.model.loaded import LoadedModel
    from geoaudit.prompts.sources import load as prompts

    model, tokenizer = load(
        resolve("smollm2-135m")[0], store=user_cache_path("geoaudit"), device="cpu", dtype="bfloat16"
    )
    loaded = LoadedModel(model, tokenizer, Chat(tokenizer))
    tokenizer.padding_side = "left"
    settings = GenerationConfig(do_sample=False, max_new_tokens=NEW_TOKENS, pad_token_id=tokenizer.pad_token_id)

    @torch.no_grad()
    def reference(rendered: list[Rendered], size: int) -> None:
        ordered = sorted(rendered, key=lambda one: len(one.ids))
        for start in range(0, len(ordered), size):
            batch = tokenizer.pad(
                {"input_ids": [list(one.ids) for one in ordered[start : start + size]]}, return_tensors="pt"
            )
            model.generate(**batch, generation_config=settings)

    def ours(rendered: list[Rendered], new: int = NEW_TOKENS) -> None:
        for batch in plan([len(one.ids) for one in rendered], new):
            complete(loaded, [rendered[index] for index in batch], [str(i) for i in batch], max_new_tokens=new)

    texts = [prompt.text for name in ("harmful", "safe-but-scary") for prompt in prompts(name, data=None).prompts]
    texts = [*texts, *(f"{text} Please." for text in texts)][:128]
    for n in (64, 128):
        rendered = [loaded.chat.render(text) for text in texts[:n]]
        ours(rendered, 1)
        for size in (8, 64):
            alternate(
                f"{n} completions of {NEW_TOKENS} tokens, generate in batches of {size} by length",
                functools.partial(reference, rendered, size),
                functools.partial(ours, rendered),
                3,
            )
        spent(loaded, n, functools.partial(ours, rendered))


def spent(loaded: LoadedModel, n: int, run: Callable[[], object]) -> None:
    """One line that says where the time of a run goes: prompts, single-token steps, everything else."""
    times = {"prompts": 0.0, "steps": 0.0}
    running: list[tuple[str, float]] = []

    def begin(module: object, args: object, given: dict[str, Any]) -> None:
        running.append(("steps" if given["input_ids"].shape[1] == 1 else "prompts", time.perf_counter()))

    def end(module: object, args: object, output: object) -> None:
        kind, started = running.pop()
        times[kind] += time.perf_counter() - started

    hooks = [
        loaded.decoder.register_forward_pre_hook(begin, with_kwargs=True),
        loaded.decoder.register_forward_hook(end),
    ]
    whole = seconds(run, 1)[0]
    for hook in hooks:
        hook.remove()
    rest = whole - sum(times.values())
    print(
        f"{n} completions, {whole:.3f} s: prompts {times['prompts']:.3f} s, single-token steps {times['steps']:.3f} s, "
        f"output head, choice and the rest {rest:.3f} s"
    )


def main(arguments: list[str]) -> None:
    """Run the benchmarks that are named, or all."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # `tests` is no installed package
    from tests.benchmarks import curves, gcg, interventions, search

    known: dict[str, Callable[[list[str]], object]] = {
        "plugin": lambda rest: inactive_plugin(),
        "generation": lambda rest: generation(),
        "search": search.main,
        "interventions": interventions.main,
        "curves": curves.curves,
        "memory": curves.memory,
        "gcg": gcg.main,
    }
    names = list(itertools.takewhile(known.__contains__, arguments))
    rest = arguments[len(names) :]
    if rest and len(names) != 1:
        raise SystemExit(f"not a benchmark: {rest[0]}; known: {', '.join(known)}. Options follow the name of one")
    for name in names or known:
        known[name](rest)


if __name__ == "__main__":
    main(sys.argv[1:])
