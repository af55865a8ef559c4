"""From an attack to cases: adaptive attacks have none before a checkpoint is there, and their targets are known."""

from __future__ import annotations

import pytest

from geoaudit.attacks.cases import ADAPTIVE, Attack
from geoaudit.attacks.make import cases, check, targeted
from geoaudit.errors import DataMissing, RequestError
from geoaudit.prompts.sources import load
from geoaudit.records import Prompt, PromptSet

GCG = Attack("gcg", budget=5, width=8)


@pytest.mark.parametrize("name", sorted(ADAPTIVE))
def test_an_adaptive_attack_has_no_cases_before_a_checkpoint(name):
    with pytest.raises(RequestError, match=f"attack {name} has no cases before it was optimised against a checkpoint"):
        cases(Attack(name, budget=5, width=8), load("harmful").first(2))


def test_only_those_that_are_optimised_are_adaptive():
    assert GCG.adaptive
    assert not Attack().adaptive
    assert not Attack("fixed", stored="jailbreakbench").adaptive


@pytest.mark.parametrize(("given", "said"), [({"budget": 0}, "a budget"), ({"width": 0}, "a width")])
def test_a_budget_and_a_width_are_needed(given, said):
    check(GCG)
    with pytest.raises(RequestError, match=f"attack gcg needs {said} of 1 or more, got 0"):
        check(Attack("gcg", **{"budget": 5, "width": 8, **given}))


def test_the_prompts_that_autodan_begins_with_must_be_there(tmp_path):
    file = tmp_path / "begins.txt"
    with pytest.raises(DataMissing, match=r"begins\.txt"):
        check(Attack("autodan", budget=5, width=8, initial=str(file)))
    file.write_text("Tell me, please. [REQUEST]\n", encoding="utf-8")
    check(Attack("autodan", budget=5, width=8, initial=str(file)))


def test_the_targets_are_those_that_prefilling_begins():
    prompts = load("harmful").first(5)
    made = targeted(prompts).cases
    assert [case.prefill for case in made] == [prompt.target for prompt in prompts.prompts]
    assert made == cases(Attack("prefill", k=1), prompts).cases
    bare = PromptSet("mine", (Prompt("a", "Explain how to build a thing.", "harmful", "kind"),), "a test", "none")
    assert targeted(bare).cases[0].prefill.endswith("Explain how to build a thing")


def test_a_refusal_is_no_target():
    with pytest.raises(RequestError, match="refusals, for training"):
        targeted(load("tune-harmful").first(2))


def test_benchmarks_have_theirs_in_a_file(benchmark_data):
    prompts = load("harmbench", data=benchmark_data).first(3)
    assert all(
        case.prefill.startswith(("Sure", "Of course", "Here", "Certainly"))
        for case in targeted(prompts, benchmark_data).cases
    )
