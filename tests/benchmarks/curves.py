"""How the cost of a search grows with layers and with prompts, and how memory does not grow with prompts.

python tests/benchmarks/run.py curves [--help]
python tests/benchmarks/run.py memory
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

from geoaudit.carriers.select import Selecting
from geoaudit.measures.needs import CandidateSearch
from tests.benchmarks.search import MODELS, REPOSITORY, Subject, add_subject_options, open_bench, open_subject

PROMPTS = (100, 1_000, 10_000)


def cost(subject: Subject, points: Sequence[tuple[str, CandidateSearch]]) -> None:
    """One line a point: seconds of the search to the winner and of the whole frontier, with means and answers there."""
    for name, need in points:
        made = open_bench(subject.name, subject.loaded, subject.answered)  # keeps the answers of more prompts too
        for each in (*need.answered, need.probe):
            made.fulfil(each)
        line = f"{name:<18}"
        rule = Selecting("arditi", need.kl_budget, max_layer_fraction=need.max_layer_fraction)
        for kind in ("winner", "frontier"):
            bench = subject.bench()
            for each in (*need.answered, need.probe):
                bench.fulfil(each)
            started = time.perf_counter()
            table = bench.fulfil(replace(need, search=kind, selecting=rule))
            seconds = time.perf_counter() - started
            line += f"{kind} {seconds:8.1f} s, {1000 * seconds / len(table.candidates):7.0f} ms a candidate   "
        print(line, flush=True)


def curves(arguments: Sequence[str] = ()) -> None:
    """Cost against layers, and against validation prompts."""
    parser = argparse.ArgumentParser("run.py curves", description=curves.__doc__)
    add_subject_options(parser)
    parser.add_argument("--fractions", type=float, nargs="*", default=[0.2, 0.4, 0.6, 0.8, 1.0], help="of the layers")
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 16, 32, 64], help="validation prompts a class")
    options = parser.parse_args(arguments)
    for spec in options.model or MODELS[:1]:
        subject = open_subject(spec, options)
        need, layers = subject.need, subject.loaded.n_layers
        print(
            f"\n{subject.name}, {subject.dtype}: cost against layers, {need.n_validation} + {need.n_validation} prompts"
        )
        cost(subject, [(f"{int(f * layers)} layers", replace(need, max_layer_fraction=f)) for f in options.fractions])
        print(
            f"\n{subject.name}, {subject.dtype}: cost against prompts, {int(need.max_layer_fraction * layers)} layers"
        )
        cost(subject, [(f"{n} + {n} prompts", replace(need, n_validation=n)) for n in options.sizes])


# --- memory ----------------------------------------------------------------------------------------------------------


def memory(arguments: Sequence[str] = ()) -> None:
    """Peak memory of `block_means`, each number of prompts in a process of its own."""
    sizes = [int(each) for each in arguments] or list(PROMPTS)
    print("\nmemory of block means, tiny random Llama (8 layers, d = 256), 32 blocks:")
    for n in sizes:
        command = [sys.executable, "-c", f"from tests.benchmarks.curves import peak; peak({n})"]
        subprocess.run(command, check=True, cwd=REPOSITORY)


def peak(n: int) -> None:
    """One line: memory before and at its peak, for n prompts in this fresh process."""
    from geoaudit.model.activations import block_means
    from tests.model.families import PROMPTS as TEXTS
    from tests.model.families import tiny_loaded

    size = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 8, "initializer_range": 0.05}
    loaded = tiny_loaded("llama", **size)
    texts = [TEXTS[i % len(TEXTS)] + " and draw a tiger" * (i // len(TEXTS) % 4) for i in range(n)]
    rendered = [loaded.chat.render(text) for text in texts]
    block_means(loaded, rendered[:64])  # what the first passes take is no matter of n
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.perf_counter()
    _, means = block_means(loaded, rendered)
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept = n * means[0].size * 4 / 2**20
    unit = 2**10 if sys.platform != "darwin" else 2**20  # kilobytes, but bytes on macOS
    print(
        f"{n:>7} prompts: peak {after / unit:7.1f} MiB, {(after - before) / unit:+6.1f} over that of 64 prompts, "
        f"{seconds:5.1f} s (all activations would be {kept:7.1f} MiB)",
        flush=True,
    )
