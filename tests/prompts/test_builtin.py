"""The built-in prompt sets: sizes, pairs, and that no prompt is in two of them or in a benchmark."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from geoaudit.prompts import sources
from geoaudit.prompts.benchmarks import BENCHMARKS
from geoaudit.prompts.overlap import near_duplicates, normalise

NAMES = [info.name for info in sources.names() if info.kind == "builtin"]
AT_LEAST = {
    "harmful": 100,
    "probe-harmful-train": 160,
    "probe-harmless-train": 160,
    "probe-harmful-validation": 64,
    "probe-harmless-validation": 64,
    "tune-harmful": 200,
    "tune-harmless": 300,
    "safe-but-scary": 100,
    "safe-but-scary-contrasts": 80,
    "benign-utility": 60,
}
PAIRED = [
    ("probe-harmful-train", "probe-harmless-train"),
    ("probe-harmful-validation", "probe-harmless-validation"),
]
TWINS = {frozenset(pair) for pair in [*PAIRED, ("safe-but-scary", "safe-but-scary-contrasts")]}
"""Sets that are alike on purpose: each prompt of one answers a prompt of the other."""

SAME_PROMPT = 0.4
"""Word 3-gram Jaccard from which two prompts count as one."""


@pytest.fixture(scope="module")
def loaded():
    return {name: sources.load(name) for name in NAMES}


def texts(prompts):
    return [one.text for one in prompts.prompts]


def test_every_set_has_its_smallest_size_here():
    assert set(NAMES) == set(AT_LEAST)


@pytest.mark.parametrize("name", NAMES)
def test_size_ids_and_texts(loaded, name):
    prompts = loaded[name].prompts
    assert len(prompts) >= AT_LEAST[name]
    assert len({one.id for one in prompts}) == len(prompts)
    assert len({normalise(one.text) for one in prompts}) == len(prompts)
    for one in prompts:
        assert one.id.startswith(f"{name}/")
        assert one.text == one.text.strip()
        assert one.text
        assert one.category


def test_ids_are_unique_over_all_sets(loaded):
    counts = Counter(one.id for prompts in loaded.values() for one in prompts.prompts)
    assert [name for name, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("name", NAMES)
def test_no_near_duplicates_within_a_set(loaded, name):
    own = texts(loaded[name])
    assert [(own[i], own[j]) for i, j, _ in near_duplicates(own, own, SAME_PROMPT) if i < j] == []


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(NAMES, 2)))
def test_sets_are_disjoint(loaded, one, other):
    a, b = texts(loaded[one]), texts(loaded[other])
    assert not set(map(normalise, a)) & set(map(normalise, b))
    if frozenset((one, other)) not in TWINS:
        assert [(a[i], b[j]) for i, j, _ in near_duplicates(a, b, SAME_PROMPT)] == []


@pytest.mark.parametrize(("harmful", "harmless"), PAIRED)
def test_pairs_are_aligned_and_matched_in_length(loaded, harmful, harmless):
    a, b = loaded[harmful].prompts, loaded[harmless].prompts
    assert [one.pair for one in a] == [one.pair for one in b]
    assert len({one.pair for one in a}) == len(a)
    assert "" not in {one.pair for one in a}
    assert [one.category for one in a] == [one.category for one in b]
    lengths = [[len(one.text.split()) for one in prompts] for prompts in (a, b)]
    ratio = sum(lengths[0]) / sum(lengths[1])
    assert 0.9 <= ratio <= 1.1
    assert max(abs(i - j) for i, j in zip(*lengths, strict=True)) <= 6
    ends = [Counter(one.text[-1] if not one.text[-1].isalnum() else "" for one in prompts) for prompts in (a, b)]
    for mark in ends[0] | ends[1]:
        assert abs(ends[0][mark] - ends[1][mark]) <= 0.1 * len(a), (
            f"ends in {mark!r}: the template would tell them apart"
        )


def test_any_prefix_of_the_pairs_is_matched_in_length(loaded):
    for harmful, harmless in PAIRED:
        for n in (16, 32, 64):
            words = [sum(len(text.split()) for text in texts(loaded[name].first(n))) for name in (harmful, harmless)]
            assert 0.9 <= words[0] / words[1] <= 1.1, (harmful, n)


@pytest.mark.parametrize(("name", "kinds"), [("harmful", 8), ("safe-but-scary", 8), ("safe-but-scary-contrasts", 8)])
def test_there_are_enough_categories(loaded, name, kinds):
    counts = Counter(one.category for one in loaded[name].prompts)
    assert len(counts) >= kinds
    assert min(counts.values()) >= 8


def test_the_utility_buckets_are_equal(loaded):
    counts = Counter(one.category for one in loaded["benign-utility"].prompts)
    assert sorted(counts) == sorted(
        ["everyday-assistance", "reasoning", "writing", "extraction", "coding", "safe-but-scary"]
    )
    assert set(counts.values()) == {10}


def test_the_refusals_to_train_on_are_short_and_of_several_wordings(loaded):
    targets = [one.target for one in loaded["tune-harmful"].prompts]
    assert all(one.strip() for one in targets)
    assert max(len(one.split()) for one in targets) <= 20
    counts = Counter(targets)
    assert len(counts) >= 6
    assert max(counts.values()) <= len(targets) / 4


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("benchmark", BENCHMARKS)
def test_no_text_of_a_benchmark_is_in_a_built_in_set(loaded, benchmark_data, name, benchmark):
    own, theirs = texts(loaded[name]), texts(sources.load(benchmark, data=benchmark_data))
    assert [(own[i], theirs[j]) for i, j, _ in near_duplicates(own, theirs, 0.5)] == []
    assert not set(map(normalise, own)) & set(map(normalise, theirs))
