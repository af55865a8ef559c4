"""Benchmarks from the real files: counts, texts as the pipelines present them, ids, order."""

from __future__ import annotations

import csv
from collections import Counter

import pytest

from geoaudit.errors import DataMissing
from geoaudit.prompts import pinned, sources
from geoaudit.prompts.benchmarks import BENCHMARKS, load_openings, load_targets

COUNTS = {
    # name: (loaded, left out)
    "harmbench": (300, 100),
    "harmbench-standard": (200, 200),
    "harmbench-contextual": (100, 300),
    "harmbench-test": (240, 80),
    "harmbench-val": (60, 20),
    "harmbench-adv-training": (100, 0),
    "strongreject": (313, 0),
    "strongreject-small": (60, 0),
    "advbench": (520, 0),
    "jailbreakbench": (100, 0),
    "jailbreakbench-benign": (100, 0),
    "xstest": (250, 200),
    "xstest-unsafe": (200, 250),
}


@pytest.fixture
def load(benchmark_data):
    return lambda name: sources.load(name, data=benchmark_data)


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_benchmark_has_its_counts_here():
    assert set(COUNTS) == set(BENCHMARKS)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_counts_ids_and_labels(load, name):
    loaded, left_out = COUNTS[name]
    prompts = load(name)
    assert (len(prompts), sum(prompts.skipped.values())) == (loaded, left_out)
    assert len(prompts) == BENCHMARKS[name].n
    assert len({one.id for one in prompts.prompts}) == loaded
    assert len({one.text for one in prompts.prompts}) == loaded
    assert {one.label for one in prompts.prompts} == {BENCHMARKS[name].label}
    assert all(one.text.strip() and one.category.strip() for one in prompts.prompts)
    assert prompts.name == name
    assert prompts.licence
    assert prompts.source


@pytest.mark.parametrize("name", BENCHMARKS)
def test_loading_twice_is_the_same(load, name):
    assert load(name).sha256 == load(name).sha256


def test_harmbench_presents_the_context_before_the_behaviour(load, benchmark_data):
    table = rows(benchmark_data / "harmbench" / "harmbench_behaviors_text_all.csv")
    texts = {one.id: one.text for one in load("harmbench").prompts}
    kinds = Counter()
    for row in table:
        kind = row["FunctionalCategory"]
        kinds[kind] += 1
        text = texts.get(f"harmbench/{row['BehaviorID']}")
        match kind:
            case "standard":
                assert text == row["Behavior"]
            case "contextual":
                context = row["ContextString"].replace("\r\n", "\n")
                assert text == f"{context}\n\n---\n\n{row['Behavior']}"
            case "copyright":
                assert text is None
    assert kinds == {"standard": 200, "contextual": 100, "copyright": 100}


def test_the_parts_of_harmbench_hold_the_same_prompts_in_the_same_order(load):
    whole = load("harmbench").prompts
    for part in ("harmbench-standard", "harmbench-contextual", "harmbench-test", "harmbench-val"):
        prompts = load(part).prompts
        ids = {one.id for one in prompts}
        assert prompts == tuple(one for one in whole if one.id in ids)
    test, val = load("harmbench-test"), load("harmbench-val")
    assert not {one.id for one in test.prompts} & {one.id for one in val.prompts}
    assert len(test) + len(val) == len(whole)
    standard, contextual = load("harmbench-standard"), load("harmbench-contextual")
    assert not {one.id for one in standard.prompts} & {one.id for one in contextual.prompts}
    assert len(standard) + len(contextual) == len(whole)


def test_a_contextual_prompt_keeps_its_behaviour_and_context_apart(load):
    for one in load("harmbench-contextual").prompts:
        assert one.text == f"{one.context}\n\n---\n\n{one.behavior}"
        assert one.behavior.strip()
        assert one.context.strip()
        assert one.request == one.behavior
    for one in load("harmbench-standard").prompts:
        assert (one.behavior, one.context, one.request) == ("", "", one.text)


def test_what_harmbench_leaves_out_is_counted_with_its_reason(load):
    reasons = load("harmbench-standard").skipped
    assert reasons["contextual behaviours: source harmbench-contextual"] == 100
    [copyright_reason] = [reason for reason in reasons if reason.startswith("copyright")]
    assert "unless the hashes" in copyright_reason
    assert load("harmbench").skipped == {copyright_reason: 100}
    assert load("harmbench-val").skipped == {copyright_reason: 20}


def test_every_harmbench_behaviour_has_a_target_of_its_own(load, benchmark_data):
    for name in ("harmbench", "harmbench-standard", "harmbench-contextual", "harmbench-test", "harmbench-val"):
        targets = load_targets(BENCHMARKS[name], benchmark_data)
        assert len(targets) == 400
        prompts = load(name).prompts
        assert all(targets[one.id].strip() for one in prompts)
        assert all(one.target == "" for one in prompts), "read only when an attack asks for them"
    assert targets["harmbench/induce_grandmother_fall"].startswith("Sure, here's how to make your grandmother fall")


def test_targets_come_with_other_line_ends_or_not_at_all(benchmark_data, tmp_path):
    path = tmp_path / pinned.HARMBENCH_TARGETS.path
    path.parent.mkdir()
    content = (benchmark_data / pinned.HARMBENCH_TARGETS.path).read_bytes()
    path.write_bytes(content.replace(b"\n", b"\r\n"))
    harmbench = BENCHMARKS["harmbench"]
    assert load_targets(harmbench, tmp_path) == load_targets(harmbench, benchmark_data)
    path.write_bytes(content + b" ")
    with pytest.raises(DataMissing, match="not the pinned file"):
        load_targets(harmbench, tmp_path)
    path.unlink()
    with pytest.raises(DataMissing, match="geoaudit data fetch harmbench"):
        load_targets(harmbench, tmp_path)
    assert load_targets(BENCHMARKS["xstest"], tmp_path) == {}


@pytest.mark.parametrize("name", ["harmbench-adv-training", "harmbench-val"])
def test_adversarial_training_has_about_twelve_openings_a_behaviour(load, benchmark_data, name):
    openings = load_openings(BENCHMARKS[name], benchmark_data)
    for one in load(name).prompts:
        fewest = 1 if one.id == "harmbench/dimethylmercury_instructions_home" else 8
        assert fewest <= len(set(openings[one.id])) <= 12
        assert all(opening.strip() for opening in openings[one.id])


def test_no_behaviour_of_adversarial_training_is_one_that_harmbench_scores(load):
    scored = {one.text for one in load("harmbench").prompts}
    assert not scored & {one.text for one in load("harmbench-adv-training").prompts}
    assert len(scored & {one.text for one in load("harmbench-val").prompts}) == 60


# Of the texts as they were before behaviours had fields for their parts: stored numbers are keyed by them.
HASHES = {
    "harmbench": "a8502052b545f1e5",
    "harmbench-test": "fa6ad5d665dbe19b",
    "harmbench-val": "8f0aae8e52fa32e2",
    "strongreject": "1b6b762fe8fbefe2",
    "strongreject-small": "ecd9aa4cc520260b",
    "advbench": "1fa7c43cff0df1d6",
    "jailbreakbench": "4a0722e12d68237f",
    "jailbreakbench-benign": "3761710f77a22ab4",
    "xstest": "1cb6f44b1e6b76a3",
    "xstest-unsafe": "b8e18de0a332be02",
}


@pytest.mark.parametrize("name", HASHES)
def test_the_prompts_are_the_ones_that_numbers_were_stored_for(load, name):
    assert load(name).sha256.startswith(HASHES[name])


def test_two_contexts_have_the_line_ends_that_reach_the_model(load, benchmark_data):
    raw = rows(benchmark_data / "harmbench" / "harmbench_behaviors_text_test.csv")
    raw += rows(benchmark_data / "harmbench" / "harmbench_behaviors_text_all.csv")
    assert any("\r\n" in row["ContextString"] for row in raw), "the case this is about must occur"
    assert not any("\r" in one.text for name in ("harmbench", "harmbench-test") for one in load(name).prompts)


def test_strongreject_small_is_a_subset_with_the_same_ids_and_categories(load):
    whole = {one.id: one for one in load("strongreject").prompts}
    small = load("strongreject-small").prompts
    assert all(whole[one.id].text == one.text and whole[one.id].category == one.category for one in small)
    assert set(Counter(one.category for one in small).values()) == {10}
    assert len({one.category for one in whole.values()}) == 6


def test_advbench_has_its_targets(load, benchmark_data):
    targets = {row["goal"]: row["target"] for row in rows(benchmark_data / "advbench" / "harmful_behaviors.csv")}
    prompts = load("advbench").prompts
    assert {one.text: one.target for one in prompts} == targets
    assert all(one.target.strip() for one in prompts)


def test_jailbreakbench_halves_are_aligned_twins(load):
    harmful, benign = load("jailbreakbench").prompts, load("jailbreakbench-benign").prompts
    assert [one.pair for one in harmful] == [one.pair for one in benign]
    assert [one.category for one in harmful] == [one.category for one in benign]
    assert set(Counter(one.category for one in harmful).values()) == {10}
    assert not {one.text for one in harmful} & {one.text for one in benign}


def test_xstest_halves_have_their_types(load):
    safe = Counter(one.category for one in load("xstest").prompts)
    unsafe = Counter(one.category for one in load("xstest-unsafe").prompts)
    assert set(safe.values()) == set(unsafe.values()) == {25}
    assert (len(safe), len(unsafe)) == (10, 8)
    assert all(name.startswith("contrast_") for name in unsafe)
    assert not any(name.startswith("contrast_") for name in safe)
