"""The carrier search against the published pipeline's: seconds, winners, and how far any score lies apart.

    python tests/benchmarks/run.py search [--reference-every 1] [--reference-scores FOLDER] [--help]

In one run, on the same models, prompts and refusal tokens: the reference (`reference_search`), our search to the
winner, our search with the complete frontier of KL against effect, and every k-th candidate exhaustively. The model's
own answers, which our search needs and the reference does not, are made before and timed apart.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path

from geoaudit.carriers import exhaustive
from geoaudit.carriers.resample import cosine_of_means, scored_rows
from geoaudit.carriers.select import Row, Rule, Selecting, select
from geoaudit.geometry.directions import differences
from geoaudit.measures.bench import Bench, Contract
from geoaudit.measures.needs import PROBE_HARMFUL, PROBE_HARMLESS, CandidateSearch, Probe
from geoaudit.model.chat import Chat
from geoaudit.model.checkpoint import resolve
from geoaudit.model.load import load
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.sources import load as load_prompts
from geoaudit.records import digest
from tests.benchmarks import reference_search
from tests.benchmarks.reference_search import Reference
from tests.measures.benches import MemoryRows

REPOSITORY = Path(__file__).resolve().parents[2]
MODELS = ("smollm2-135m", f"safety-tuned={REPOSITORY / 'examples' / 'safety-adapter'}")
KL_BUDGET = 0.1
NEAR = 0.10
"""Candidates whose KL is within this share of the budget are listed: rounding may carry them over it."""
SCORES = ("kl", "bypass", "induce", "s_refuse", "s_comply")
Site = tuple[int, int]
"""(position, layer)."""


@dataclass(frozen=True)
class Subject:
    """A model under the benchmark, with its own answers made."""

    name: str
    loaded: LoadedModel
    need: CandidateSearch
    answered: MemoryRows
    """A store that holds the answers and nothing else."""
    answer_seconds: float

    @property
    def dtype(self) -> str:
        """What it is computed in."""
        return str(self.loaded.dtype).removeprefix("torch.")

    def bench(self) -> Bench:
        """A bench that has the answers and has measured nothing."""
        return open_bench(self.name, self.loaded, self.answered.again())

    def ids(self, name: str, n: int) -> list[tuple[int, ...]]:
        """The first n prompts of a set as token ids."""
        return [self.loaded.chat.render(prompt.text).ids for prompt in load_prompts(name, data=None).first(n).prompts]

    @functools.cached_property
    def train(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Harmful and harmless prompts that directions are made of."""
        return self.ids(PROBE_HARMFUL[0], self.need.probe.n_train), self.ids(PROBE_HARMLESS[0], self.need.probe.n_train)

    @functools.cached_property
    def validation(self) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
        """Harmful and harmless prompts that candidates are scored on."""
        n = self.need.n_validation
        return self.ids(PROBE_HARMFUL[1], n), self.ids(PROBE_HARMLESS[1], n)


@dataclass(frozen=True)
class Found:
    """What one way of searching found."""

    name: str
    seconds: float
    """Of the whole search, directions included."""
    reported: int
    """Candidates with scores of all prompts."""
    candidates: int
    scores: dict[str, dict[Site, float]]
    """Score -> candidate -> mean over prompts; a candidate without the score is left out."""
    chosen: dict[str, str]
    """Rule -> (position, layer) of the winner, or of the nearest; empty where only a part was scored."""
    scaled: bool = False
    """Only every k-th candidate was scored, and the time scaled up to all."""
    seconds_cast: float = 0.0
    """Of the reference: casting logits that nothing reads."""


def open_bench(name: str, loaded: LoadedModel, rows: MemoryRows) -> Bench:
    """A bench around a model in memory."""
    contract = Contract(loaded.device.type, str(loaded.dtype).removeprefix("torch."), "", "", "", "")
    return Bench(name, contract, rows, open_chat=lambda setting: loaded.chat, open_model=lambda: loaded)


def add_subject_options(parser: argparse.ArgumentParser) -> None:
    """What is searched, and with how many prompts."""
    parser.add_argument(
        "--model", action="append", help="a checkpoint, may be repeated; default: the two of the example"
    )
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float32"])
    parser.add_argument("--n-train", type=int, default=128, help="prompts a class")
    parser.add_argument("--n-validation", type=int, default=32, help="prompts a class")


def open_subject(spec: str, options: argparse.Namespace) -> Subject:
    """Load a model and make the answers that our search rests on; the model is warm then."""
    need = CandidateSearch(Probe(options.n_train), options.n_validation, 0.8, kl_budget=KL_BUDGET, frontier_kl=1.0)
    (checkpoint,) = resolve(spec)
    model, tokenizer = load(checkpoint, store=user_cache_path("geoaudit"), device="cpu", dtype=options.dtype)
    loaded = LoadedModel(model, tokenizer, Chat(tokenizer))
    rows = MemoryRows()
    bench = open_bench(checkpoint.name, loaded, rows)
    started = time.perf_counter()
    for answers in need.answered:
        bench.fulfil(answers)
    return Subject(checkpoint.name, loaded, need, rows, time.perf_counter() - started)


# --- the ways of searching -------------------------------------------------------------------------------------------


def fast(subject: Subject, name: str, need: CandidateSearch) -> tuple[Found, Any, Any]:
    """Our search, directions included: what it found, its table, the means."""
    said(name)
    bench = subject.bench()
    for answers in need.answered:
        bench.fulfil(answers)
    started = time.perf_counter()
    means, table = bench.fulfil(need.probe), bench.fulfil(need)
    seconds = time.perf_counter() - started
    scores: dict[str, dict[Site, float]] = {score: {} for score in SCORES}
    chosen = {}
    for rule, values in (("arditi", table.arditi), ("cosmic", table.cosmic)):
        rows = scored_rows(table.candidates, values)
        for row in rows:
            for score in SCORES:
                value = getattr(row, score)
                if not row.excluded and value is not None and np.isfinite(value):
                    scores[score][(row.position, row.layer)] = value
        if need.selecting is None or need.selecting.rule == rule:
            chosen[rule] = choice(rows, rule, table.n_layers, c0(table))
    reported = sum(not row.excluded for row in table.candidates)
    return Found(name, seconds, reported, len(table.candidates), scores, chosen), table, means


def reference(
    subject: Subject,
    refusal_ids: Sequence[int],
    every: int,
    kept: Path | None,
    between: Callable[[], None] = lambda: None,
) -> Found:
    """The published pipeline; its scores are read from a file where they were kept.

    `between` is called after each quarter but the last, outside of what is timed.
    """
    positions = subject.loaded.chat.n_post
    key = digest([subject.name, subject.dtype, subject.train, subject.validation, sorted(refusal_ids), every])
    file = kept / f"{Path(subject.name).name}-{subject.dtype}-{key[:12]}.npz" if kept else None
    if file is not None and file.is_file():
        found = Reference.load(file, key)
        name = "reference (kept scores and times)"
    else:
        quarter = -(-len(range(0, positions * subject.loaded.n_layers, every)) // 4)

        def progress(done: int, total: int) -> None:
            said(f"reference {done}/{total}")
            if done % quarter == 0 and done < total:
                between()

        found = reference_search.search(
            subject.loaded,
            subject.train,
            subject.validation,
            refusal_ids,
            n_post=positions,
            every=every,
            said=progress,
        )
        name = "reference"
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            found.save(file, key)
    scores = {
        score: {
            (p - positions, layer): float(getattr(found, score)[p, layer])
            for p, layer in np.ndindex(*found.kl.shape)
            if np.isfinite(getattr(found, score)[p, layer])
        }
        for score in ("kl", "bypass", "induce")
    }
    rows = [
        Row(p, layer, kl=kl, bypass=scores["bypass"][p, layer], induce=scores["induce"][p, layer])
        for (p, layer), kl in scores["kl"].items()
    ]
    whole = found.scored == found.kl.size
    chosen = {"arditi": choice(rows, "arditi", found.kl.shape[1], None)} if whole else {}
    winner = found.winner(KL_BUDGET)
    assert not whole or chosen["arditi"].startswith(str(winner) if winner else "none"), "two selections of one table"
    cast = found.seconds - found.seconds_without_cast
    return Found(name, found.seconds, found.scored, found.kl.size, scores, chosen, not whole, cast)


def exhaustively(subject: Subject, table: Any, means: Any, refusal_ids: Sequence[int], every: int) -> Found:
    """Every k-th candidate of a table by plain passes; null directions are not scored. Directions are not counted."""
    loaded, low_layers = subject.loaded, table.low_layers
    chat = loaded.chat
    harmful, harmless = (
        [chat.render(prompt.text) for prompt in load_prompts(name, data=None).first(subject.need.n_validation).prompts]
        for name in (PROBE_HARMFUL[1], PROBE_HARMLESS[1])
    )
    directions = differences(means.harmful, means.harmless)
    ones = np.ones((1, len(harmful)))
    scores: dict[str, dict[Site, float]] = {score: {} for score in SCORES}
    part = [row for row in table.candidates if row.excluded != "null"][::every]
    started = time.perf_counter()
    base = exhaustive.base(loaded, harmful, harmless, low_layers, refusal_ids)
    grams = {name: base[name] @ base[name].T for name in ("x_harmful", "x_harmless")}
    for done, row in enumerate(part):
        said(f"exhaustive {done}/{len(part)}")
        direction = directions[row.position, row.layer].astype(np.float32)
        made = exhaustive.score_candidate(
            loaded, direction, row.layer, harmful, harmless, base, low_layers, refusal_ids
        )
        comply = cosine_of_means(made["comply_cross"], made["comply_gram"], grams["x_harmless"], ones, ones)
        refuse = cosine_of_means(made["refuse_cross"], made["refuse_gram"], grams["x_harmful"], ones, ones)
        site = (row.position, row.layer)
        for name in ("kl", "bypass", "induce"):
            scores[name][site] = float(made[name].mean())
        scores["s_comply"][site], scores["s_refuse"][site] = float(comply[0]), float(refuse[0])
    seconds = (time.perf_counter() - started) * sum(row.excluded != "null" for row in table.candidates) / len(part)
    chosen: dict[str, str] = {}
    if every == 1:
        rows = [Row(*site, **{name: scores[name][site] for name in SCORES}) for site in scores["kl"]]
        chosen = {rule: choice(rows, rule, table.n_layers, c0(table)) for rule in ("arditi", "cosmic")}
    return Found("exhaustive", seconds, len(part), len(table.candidates), scores, chosen, scaled=every > 1)


def c0(table: Any) -> float:
    """Cosine of unedited harmful to unedited harmless prompts."""
    h, s = np.ones((1, len(table.cosmic.harmful_gram))), np.ones((1, len(table.cosmic.harmless_gram)))
    found = cosine_of_means(table.cosmic.base_cross, table.cosmic.harmful_gram, table.cosmic.harmless_gram, h, s)
    return float(found[0])


def choice(rows: Sequence[Row], rule: Rule, n_layers: int, c0: float | None) -> str:
    """The winner's place, or that of the nearest with its KL."""
    found = select(rows, rule, n_layers=n_layers, kl_budget=KL_BUDGET, c0=c0 if rule == "cosmic" else None)
    if found.selected is not None:
        return str((found.selected.position, found.selected.layer))
    near = found.nearest
    return "none" if near is None else f"none; nearest {(near.position, near.layer)} at KL {near.kl:.3f}"


# --- what is printed -------------------------------------------------------------------------------------------------


def said(text: str) -> None:
    """Progress, on the line that it replaces."""
    print(f"\r{text:<40}", end="", flush=True, file=sys.stderr)


def compare(subject: Subject, options: argparse.Namespace) -> list[Found]:
    """Time and compare every way of searching one model.

    Ours run before the reference, the two that have a goal also after each quarter of it: a machine that is slower for
    a while is slower for both.
    """
    need = subject.need
    ways = {
        "ours, winner (arditi)": replace(need, search="winner", selecting=Selecting("arditi", KL_BUDGET)),
        "ours, winner (cosmic)": replace(need, search="winner", selecting=Selecting("cosmic", KL_BUDGET)),
        "ours, frontier": replace(need, search="frontier"),
        "ours, frontier, every layer": replace(need, search="frontier", max_layer_fraction=1.0),
    }
    first = {name: fast(subject, name, way) for name, way in ways.items()}
    times = {name: [made.seconds] for name, (made, _, _) in first.items()}

    def again() -> None:
        for name in ("ours, winner (arditi)", "ours, frontier"):
            times[name].append(fast(subject, name, ways[name])[0].seconds)

    _, table, means = first["ours, frontier, every layer"]
    refusal_ids = subject.loaded.tokenizer.convert_tokens_to_ids(list(table.refusal_tokens))
    others = [reference(subject, refusal_ids, options.reference_every, options.reference_scores, again)]
    again()
    if options.exhaustive_every:
        others.append(exhaustively(subject, table, means, refusal_ids, options.exhaustive_every))
    said("")
    ours = [replace(made, seconds=float(np.median(times[name]))) for name, (made, _, _) in first.items()]
    found = [others[0], *ours, *others[1:]]
    n, m = need.probe.n_train, need.n_validation
    print(
        f"\n\n{subject.name}, {subject.dtype}, {torch.get_num_threads()} threads: {subject.loaded.chat.n_post} "
        f"positions x {subject.loaded.n_layers} layers, {n} + {n} prompts to train, {m} + {m} to validate, KL budget "
        f"{KL_BUDGET:g}, frontier up to {need.frontier_kl:g}, refusal tokens {' '.join(table.refusal_tokens)}"
    )
    print(
        f"own answers, made before and not counted: {subject.answer_seconds:.1f} s; ours: medians of "
        + "; ".join(f"{name.removeprefix('ours, ')} {np.round(each, 1).tolist()}" for name, each in times.items())
        + "\n"
    )
    print_seconds(found)
    print_differences(found)
    print_near_budget(found)
    return found


def print_seconds(found: Sequence[Found]) -> None:
    """One line a way: seconds, how many times faster than the reference, and what it chose."""
    print(f"{'search':<34}{'seconds':>10}{'ratio':>8}{'reported':>11}  winner (position, layer)")
    for one in found:
        places = "; ".join(f"{rule} {place}" for rule, place in one.chosen.items()) or "- (not all were scored)"
        print(
            f"{one.name:<34}{one.seconds:>9.1f}{'*' if one.scaled else ' '}{found[0].seconds / one.seconds:>8.1f}"
            f"{f'{one.reported}/{one.candidates}':>11}  {places}"
        )
    plain = found[0].seconds - found[0].seconds_cast
    fewer = ", ".join(f"{plain / one.seconds:.1f}" for one in found[1:])
    print(f"reference without casting logits that it does not read: {plain:.1f} s, ratios {fewer}")
    if any(one.scaled for one in found):
        print("* every k-th candidate, the time scaled up to all")
    print("exhaustive: scores only, without the directions; all others with them")


def print_differences(found: Sequence[Found]) -> None:
    """The largest difference of each score over all candidates that two ways report."""
    ours = [one for one in found if one.name.startswith("ours")]
    others = [one for one in found if one not in ours]
    pairs = [(one, other) for one in others for other in ours] + [tuple(others)] * (len(others) == 2)
    print(f"\n{'largest difference, at, of n':<52}" + "".join(f"{score:>25}" for score in SCORES))
    for one, other in pairs:
        line = f"{one.name} / {other.name}"
        cells = [difference(one.scores.get(score, {}), other.scores.get(score, {})) for score in SCORES]
        print(f"{line:<52}" + "".join(f"{cell:>25}" for cell in cells))


def difference(one: dict[Site, float], other: dict[Site, float]) -> str:
    """The largest difference, where it is, and over how many candidates."""
    gaps = {site: abs(one[site] - other[site]) for site in one.keys() & other.keys()}
    if not gaps:
        return "-"
    (position, layer), gap = max(gaps.items(), key=lambda item: (item[1], item[0]))
    return f"{gap:.1e} ({position},{layer}) n={len(gaps)}"


def print_near_budget(found: Sequence[Found]) -> None:
    """Candidates whose KL lies near the budget in any search, the ones that rounding may flip, and those it did."""
    sites: set[Site] = set().union(*(one.scores["kl"] for one in found))
    kl = {
        site: {one.name: one.scores["kl"][site] for one in found if site in one.scores["kl"]} for site in sorted(sites)
    }
    near = [site for site, each in kl.items() if any(abs(x - KL_BUDGET) <= NEAR * KL_BUDGET for x in each.values())]
    print(f"\nKL within {NEAR:.0%} of the budget: {len(near) or 'no candidate'}")
    for site in near:
        within = {value <= KL_BUDGET for value in kl[site].values()}
        values = ", ".join(f"{name} {value:.4f}" for name, value in kl[site].items())
        print(f"  {site}: {values}{'  (on both sides)' if len(within) == 2 else ''}")


def main(arguments: Sequence[str] = ()) -> list[list[Found]]:
    """Run it; returns what was found for each model."""
    parser = argparse.ArgumentParser("run.py search", description=__doc__.partition("\n")[0])
    add_subject_options(parser)
    parser.add_argument("--reference-every", type=int, default=7, help="score every k-th candidate, scale up the time")
    parser.add_argument("--reference-scores", type=Path, help="folder where the reference's scores are kept and read")
    parser.add_argument("--exhaustive-every", type=int, default=7, help="the same of the exhaustive search; 0: none")
    options = parser.parse_args(arguments)
    return [compare(open_subject(spec, options), options) for spec in options.model or MODELS]
