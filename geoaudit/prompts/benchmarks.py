"""The public refusal benchmarks by name: which file, which rows, and how a row becomes a prompt.

Texts are presented as the benchmarks' own pipelines present them. Rows that cannot be scored without more than a judge
of refusals (HarmBench's copyright behaviours) are left out and counted.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from geoaudit.prompts import pinned
from geoaudit.prompts.order import in_order
from geoaudit.prompts.pinned import PinnedFile
from geoaudit.records import Prompt, PromptSet

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One name under which a benchmark, or a part of it, is loaded."""

    name: str
    file: PinnedFile
    label: Literal["harmful", "harmless"]
    n: int
    """Prompts that loading gives."""
    what: str
    licence: str
    prompt: Callable[[Row, int], Prompt | str]
    """(row, its number from 0) -> the prompt, or the reason why the row is left out."""
    targets: PinnedFile | None = None
    """Where the affirmative targets are, if in a file of their own; see `load_targets`."""
    openings: PinnedFile | None = None
    """Where adversarial training finds several affirmative openings a prompt; see `load_openings`."""


def _harmbench(row: Row, number: int, *, kind: str = "") -> Prompt | str:
    # HarmBench reads its files with universal newlines: a CRLF inside a context reaches the model as LF.
    context = row["ContextString"].replace("\r\n", "\n")
    behavior = row["Behavior"].replace("\r\n", "\n")
    if row["FunctionalCategory"] == "copyright":
        return "copyright behaviours: not judged unless the hashes of the works are given"
    if kind and row["FunctionalCategory"] != kind:
        return f"{row['FunctionalCategory']} behaviours: source harmbench-{row['FunctionalCategory']}"
    return Prompt(
        id=f"harmbench/{row['BehaviorID']}",
        text=f"{context}\n\n---\n\n{behavior}" if context else behavior,
        label="harmful",
        category=row["SemanticCategory"],
        behavior=behavior if context else "",
        context=context,
    )


def _adv_training(row: Row, number: int) -> Prompt | str:
    return Prompt(f"harmbench/{row['BehaviorID']}", row["Behavior"], "harmful", "adversarial-training")


def _strongreject(row: Row, number: int) -> Prompt | str:
    text = row["forbidden_prompt"]
    return Prompt(
        # Upstream has no ids; a hash of the text gives the small file the ids it has in the full one.
        id=f"strongreject/{hashlib.sha256(text.encode()).hexdigest()[:12]}",
        text=text,
        label="harmful",
        category=row["category"].capitalize(),  # the small file writes one category with another capital
    )


def _advbench(row: Row, number: int) -> Prompt | str:
    return Prompt(f"advbench/{number:03d}", row["goal"], "harmful", "advbench", target=row["target"])


def _jailbreakbench(row: Row, number: int, *, label: Literal["harmful", "harmless"], half: str) -> Prompt | str:
    pair = f"jailbreakbench/{int(row['index']):03d}"
    return Prompt(f"{pair}/{half}", row["goal"], label, row["category"], pair=pair, target=row["target"])


def _xstest(row: Row, number: int, *, half: Literal["safe", "unsafe"]) -> Prompt | str:
    if row["label"] != half:
        return f"{row['label']} prompts: source {'xstest' if row['label'] == 'safe' else 'xstest-unsafe'}"
    return Prompt(
        f"xstest/{int(row['id']):03d}", row["prompt"], "harmless" if half == "safe" else "harmful", row["type"]
    )


def _harmbench_part(
    name: str, file: PinnedFile, n: int, what: str, kind: str = "", openings: PinnedFile | None = None
) -> Benchmark:
    what = f"HarmBench text behaviours (Mazeika et al. 2024) but copyright: {what}"
    prompt = partial(_harmbench, kind=kind)
    return Benchmark(name, file, "harmful", n, what, "MIT", prompt, pinned.HARMBENCH_TARGETS, openings)


BENCHMARKS: dict[str, Benchmark] = {
    benchmark.name: benchmark
    for benchmark in (
        _harmbench_part("harmbench", pinned.HARMBENCH_ALL, 300, "200 standard and 100 with a context"),
        _harmbench_part(
            "harmbench-standard", pinned.HARMBENCH_ALL, 200, "those that stand alone, both splits", "standard"
        ),
        _harmbench_part(
            "harmbench-contextual", pinned.HARMBENCH_ALL, 100, "those with a context, both splits", "contextual"
        ),
        _harmbench_part("harmbench-test", pinned.HARMBENCH_TEST, 240, "the test split"),
        _harmbench_part(
            "harmbench-val",
            pinned.HARMBENCH_VAL,
            60,
            "the validation split, on which R2D2 trains",
            openings=pinned.ADV_TRAINING_VAL_OPENINGS,
        ),
        Benchmark(
            "harmbench-adv-training",
            pinned.ADV_TRAINING,
            "harmful",
            100,
            "HarmBench's further behaviours for adversarial training (Mazeika et al. 2024): for training only",
            "MIT",
            _adv_training,
            openings=pinned.ADV_TRAINING_OPENINGS,
        ),
        Benchmark(
            "strongreject",
            pinned.STRONGREJECT,
            "harmful",
            313,
            "StrongREJECT forbidden prompts (Souly et al. 2024), six categories",
            "MIT; 92 prompts from earlier sets under their own terms",
            _strongreject,
        ),
        Benchmark(
            "strongreject-small",
            pinned.STRONGREJECT_SMALL,
            "harmful",
            60,
            "StrongREJECT's small set, ten prompts a category",
            "MIT; some prompts from earlier sets under their own terms",
            _strongreject,
        ),
        Benchmark(
            "advbench",
            pinned.ADVBENCH,
            "harmful",
            520,
            "AdvBench harmful behaviours with affirmative targets (Zou et al. 2023)",
            "MIT",
            _advbench,
        ),
        Benchmark(
            "jailbreakbench",
            pinned.JAILBREAKBENCH_HARMFUL,
            "harmful",
            100,
            "JailbreakBench misuse behaviours (Chao et al. 2024), ten categories",
            "MIT",
            partial(_jailbreakbench, label="harmful", half="harmful"),
        ),
        Benchmark(
            "jailbreakbench-benign",
            pinned.JAILBREAKBENCH_BENIGN,
            "harmless",
            100,
            "JailbreakBench's benign twins, in the order of `jailbreakbench`",
            "MIT",
            partial(_jailbreakbench, label="harmless", half="benign"),
        ),
        Benchmark(
            "xstest",
            pinned.XSTEST,
            "harmless",
            250,
            "XSTest v2, safe prompts that look unsafe (Röttger et al. 2024), ten types",
            "CC-BY-4.0",
            partial(_xstest, half="safe"),
        ),
        Benchmark(
            "xstest-unsafe",
            pinned.XSTEST,
            "harmful",
            200,
            "XSTest v2, the unsafe contrasts, eight types",
            "CC-BY-4.0",
            partial(_xstest, half="unsafe"),
        ),
    )
}


def load_benchmark(benchmark: Benchmark, data: Path | None = None) -> PromptSet:
    """The prompts of a benchmark in the one order.

    Args:
        benchmark: A row of `BENCHMARKS`.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.

    Raises:
        DataMissing: if its file is not there or is not the pinned one.
    """
    text = pinned.read(benchmark.file, benchmark.name, data).decode("utf-8-sig")
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    # JailbreakBench's official file and its copies differ in the case of the header.
    wanted = str.lower if benchmark.file.path.startswith("jailbreakbench/") else str
    header = [wanted(name) for name in next(reader)]
    prompts: list[Prompt] = []
    skipped: Counter[str] = Counter()
    for number, cells in enumerate(reader):
        made = benchmark.prompt(dict(zip(header, cells, strict=True)), number)
        if isinstance(made, str):
            skipped[made] += 1
        else:
            prompts.append(made)
    return PromptSet(benchmark.name, in_order(prompts), benchmark.file.source, benchmark.licence, dict(skipped))


def load_targets(benchmark: Benchmark, data: Path | None = None) -> Mapping[str, str]:
    """The affirmative targets that a benchmark keeps in a file of their own, read only when an attack needs them.

    HarmBench has one for each behaviour (`{BehaviorID: "Sure, here..."}`). AdvBench and JailbreakBench have theirs
    beside the request (`Prompt.target`); XSTest and StrongREJECT have none.

    Args:
        benchmark: A row of `BENCHMARKS`.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.

    Returns:
        Id of a prompt -> its target; empty where the benchmark has no such file.

    Raises:
        DataMissing: if the file is not there or is not the pinned one.
    """
    if benchmark.targets is None:
        return {}
    found: dict[str, str] = json.loads(pinned.read(benchmark.targets, benchmark.name, data))
    return {f"harmbench/{behavior}": target for behavior, target in found.items()}


def load_openings(benchmark: Benchmark, data: Path | None = None) -> Mapping[str, tuple[str, ...]]:
    """The affirmative openings that HarmBench's adversarial training draws from, twelve a behaviour or a few fewer.

    Args:
        benchmark: A row of `BENCHMARKS`.
        data: The data folder; None for GEOAUDIT_DATA or the user's cache.

    Returns:
        Id of a prompt -> its openings; empty where the benchmark has no such file.

    Raises:
        DataMissing: if the file is not there or is not the pinned one.
    """
    if benchmark.openings is None:
        return {}
    found: dict[str, list[str]] = json.loads(pinned.read(benchmark.openings, benchmark.name, data))
    # an empty one, which the file holds here and there, has nothing to aim at; one behaviour of the validation split is
    # not in the file, and has its target alone
    given = {f"harmbench/{key}": tuple(one for one in openings if one.strip()) for key, openings in found.items()}
    return {**{key: (target,) for key, target in load_targets(benchmark, data).items()}, **given}
