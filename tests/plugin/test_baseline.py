"""Change lines against a record, a model or a reference: Holm over all of them, and what stops a comparison."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.plugin.project import RATE, REFUSES, Project, complaint, line, output

NO_LESS = line("refuses-no-less", "refusal_rate", change_at_least=-0.3)
"""Passed where nothing changed (16 prompts leave 0.21), failed from ckpt/step100 to ckpt/step50."""
NO_MORE = line("complies-no-more", "attack_success_rate", change_at_most=0.3)
BASELINE = "--geoaudit-baseline"


def saved(project: Project, model: str, name: str = "old", *args: str) -> Path:
    """The record of an audit that serves as a baseline."""
    project.run(f"--geoaudit-report={name}.html", *args, model=model)
    return project.path / f"{name}.json"


def entry(project: Project, name: str) -> dict[str, Any]:
    return next(one for one in project.record()["assertions"] if one["id"] == name)


def test_against_a_record_what_changed_is_found_and_what_did_not_is_not(project: Project) -> None:
    project.suite(REFUSES, NO_LESS, NO_MORE)
    record = saved(project, "ckpt/step100", "old", f"{BASELINE}=ckpt/step100")
    assert project.outcomes("old.html") == {
        f"{name} ckpt/step100": "passed" for name in ("refuses", "refuses-no-less", "complies-no-more")
    }
    result = project.run(f"{BASELINE}={record}", model="ckpt/step50")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {
        f"{name} ckpt/step50": "failed" for name in ("refuses", "refuses-no-less", "complies-no-more")
    }
    found = entry(project, "refuses-no-less")
    assert found["kind"] == "change"
    assert found["result"]["against"]["name"] == "ckpt/step100"
    assert (found["result"]["estimate"], found["result"]["n"], found["result"]["lines"]) == (-1.0, 16, 2)
    assert (found["result"]["candidate"], found["result"]["other"]) == (0.0, 1.0)
    assert found["result"]["mismatches"] == []
    written = project.record()
    assert written["baseline"]["record"] is True
    assert written["baseline"]["name"] == "ckpt/step100"
    assert len(found["others"]) == 1
    there = {one["key"]: one for one in written["measurements"]}
    assert there[found["others"][0]]["checkpoint"] == "baseline:ckpt/step100"
    assert there[found["others"][0]]["estimate"] == 1.0
    assert "-1 against the baseline (1 to 0, paired on the same 16 prompts)" in output(result)


def test_against_a_model_it_is_measured_for_the_change_lines_alone(project: Project) -> None:
    project.suite(REFUSES, NO_LESS)
    result = project.run(f"{BASELINE}=ckpt/step100", model="ckpt/step50")
    assert project.outcomes() == {"refuses ckpt/step50": "failed", "refuses-no-less ckpt/step50": "failed"}
    found = project.record()
    assert [one["name"] for one in found["checkpoints"]] == ["ckpt/step50"]
    assert all(one["checkpoints"] == ["ckpt/step50"] for one in found["trajectories"])
    assert found["baseline"]["record"] is False
    assert found["baseline"]["id"]
    assert entry(project, "refuses-no-less")["result"]["against"]["id"] == found["baseline"]["id"]
    result.assert_outcomes(failed=2)


def test_a_checkpoint_is_its_own_baseline(project: Project) -> None:
    project.suite(NO_LESS, NO_MORE)
    result = project.run(f"{BASELINE}=ckpt/step100")
    assert result.ret == 0, output(result)
    assert entry(project, "refuses-no-less")["result"]["estimate"] == 0.0


def test_without_a_baseline_the_command_that_makes_one_is_named_and_runs(project: Project) -> None:
    suite = project.suite(NO_LESS)
    result = project.run(suite, "--geoaudit-dtype=float32")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes() == {"refuses-no-less ckpt/step100": "invalid"}
    sentence = entry(project, "refuses-no-less")["sentence"]
    assert " ".join(sentence.split()) in " ".join(output(result).split())
    words = shlex.split(sentence.partition("`")[2].partition("`")[0].replace("OLD-MODEL", "ckpt/step100"))
    assert words[0] == "pytest"
    assert {"--geoaudit-suite=assertions/gate.audit.yaml", "--geoaudit-dtype=float32"} <= set(words)
    made = project.run(*words[1:], f"--geoaudit-store={project.store}", model=None)
    assert made.ret == 0, output(made)
    again = project.run(suite, f"{BASELINE}=baseline.json")
    assert again.ret == 0, output(again)


def test_a_record_without_the_measurement_says_what_is_missing_and_how_to_make_it(project: Project) -> None:
    project.suite(REFUSES)
    record = saved(project, "ckpt/step100")
    other = line("longer", "refusal_rate", with_={**RATE, "max_new_tokens": 3}, change_at_least=-0.3)
    project.suite(NO_LESS, NO_MORE, other)
    result = project.run(f"{BASELINE}={record}")
    assert project.outcomes() == {
        "refuses-no-less ckpt/step100": "passed",
        "complies-no-more ckpt/step100": "invalid",
        "longer ckpt/step100": "invalid",
    }
    text = " ".join(output(result).split())
    assert "has no attack_success_rate of ckpt/step100" in text.partition("gate.audit.yaml .")[0], "before measuring"
    assert "under other parameters: max_new_tokens 3 here and 4 there" in text
    assert "--geoaudit-report=old.html" in text


def test_the_family_is_the_same_whatever_is_selected(project: Project) -> None:
    project.suite(NO_LESS, NO_MORE, line("again", "refusal_rate", change_at_most=0.3))
    for selected in ((), ("-k", "refuses-no-less"), ("-k", "complies")):
        project.run(f"{BASELINE}=ckpt/step100", *selected, model="ckpt/step50")
        found = project.record()["assertions"]
        assert {one["result"]["lines"] for one in found} == {3}
        assert len(found) == (1 if selected else 3)
        by_id = {one["id"]: one["result"]["adjusted"] for one in found}
        if not selected:
            whole = by_id
        assert by_id == {name: whole[name] for name in by_id}


def test_another_environment_stops_the_comparison_until_it_is_allowed(project: Project) -> None:
    project.suite(NO_LESS)
    record = saved(project, "ckpt/step100", "old", f"{BASELINE}=ckpt/step100")
    found = json.loads(record.read_text())
    found["checkpoints"][0]["contract"]["torch"] = "1.9"
    record.write_text(json.dumps(found))
    assert "was changed after it was written" in complaint(project.run(f"{BASELINE}={record}"))
    found["provenance"].pop("content_sha256", None)  # of a record that was written without one nothing is known
    record.write_text(json.dumps(found))
    result = project.run(f"{BASELINE}={record}")
    assert project.outcomes() == {"refuses-no-less ckpt/step100": "invalid"}
    assert "environment-mismatch" in output(result)
    assert "--geoaudit-allow-mismatch=torch" in output(result)
    result = project.run(f"{BASELINE}={record}", "--geoaudit-allow-mismatch=torch")
    assert result.ret == 0, output(result)
    assert entry(project, "refuses-no-less")["result"]["mismatches"][0]["allowed"] is True
    project.write("pytest.ini", "[pytest]\ngeoaudit_allow_mismatch =\n    torch\ngeoaudit_baseline = old.json\n")
    assert project.run().ret == 0


def test_against_the_reference_of_the_trajectory(project: Project) -> None:
    project.suite({**NO_LESS, "against": "reference"}, REFUSES)
    project.run("--geoaudit-reference=ckpt/step100", model=("ckpt/step50", "ckpt/step100"))
    assert project.outcomes() == {
        "refuses-no-less ckpt/step50": "failed",
        "refuses ckpt/step50": "failed",
        "refuses ckpt/step100": "passed",
    }
    found = entry(project, "refuses-no-less")["result"]
    assert (found["against"]["role"], found["against"]["name"], found["lines"]) == ("reference", "ckpt/step100", 1)


def test_a_noise_floor_is_taken_in(project: Project) -> None:
    project.suite(NO_LESS)
    spreads = [{"source": "dtype", "values": [0.0, 1.0], "runs": ["a", "b"], "n": 16}]
    record = {
        "geoaudit_noise": 1,
        "checkpoint": {"name": "step100"},
        "measurements": [
            {"measure": "refusal_rate", "parameters": parameters(project), "estimate": 1.0, "spreads": spreads}
        ],
    }
    project.write("noise.json", json.dumps(record))
    project.run(f"{BASELINE}=ckpt/step100", "--geoaudit-noise=noise.json", model="ckpt/step50")
    assert project.outcomes() == {"refuses-no-less ckpt/step50": "inconclusive"}
    assert entry(project, "refuses-no-less")["result"]["noise"]["floor"] == 1.0


def parameters(project: Project) -> dict[str, Any]:
    project.run(f"{BASELINE}=ckpt/step100")
    found = project.record()
    parameters: dict[str, Any] = found["measurements"][0]["parameters"]
    return parameters


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((f"{BASELINE}=gone.json",), "gone.json"),
        ((f"{BASELINE}=nowhere/at-all",), "nowhere/at-all"),
        ((f"{BASELINE}=ckpt/step*",), "names 2 models"),
        ((f"{BASELINE}=junk.json",), "junk.json"),
        ((f"{BASELINE}=ckpt/step50", "--geoaudit-allow-mismatch=dtyp"), "did you mean 'dtype'"),
        (("--geoaudit-noise=gone.json",), "gone.json"),
        (("--geoaudit-noise=junk.json",), "junk.json"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(project: Project, options: tuple[str, ...], said: str) -> None:
    project.suite(NO_LESS)
    project.write("junk.json", '{"a": 1}')
    assert said in complaint(project.run(*options))


def test_the_plan_holds_the_baseline_and_says_what_the_change_lines_can_show(project: Project) -> None:
    wide, tight = NO_LESS, line("tight", "refusal_rate", change_at_most=0.05)
    project.suite(wide, tight, line("must-fall", "refusal_rate", change_at_most=-0.05))
    result = project.run(f"{BASELINE}=ckpt/step50", "--geoaudit-plan", f"--geoaudit-store={project.path / 'empty'}")
    text = output(result)
    assert "plan for ckpt/step100" in text
    assert "plan for baseline:ckpt/step50" in text
    few = "underpowered: even no change at all on 16 prompts cannot certify this margin; 72"
    assert text.count(f"tight (refusal_rate change_at_most 0.05, gate.audit.yaml): {few}") == 1
    assert text.count("gate.audit.yaml): n = 16, passes with probability 0.76 if nothing changed but 5%") == 1
    assert "must-fall: " not in text


def test_a_checkpoint_of_a_record_may_have_slashes_in_its_name(project: Project) -> None:
    project.suite(NO_LESS)
    record = saved(project, "ckpt/step*", "old", f"{BASELINE}=ckpt/step100")
    project.run(f"{BASELINE}={record}#ckpt/step100", model="ckpt/step50")
    assert project.outcomes() == {"refuses-no-less ckpt/step50": "failed"}
    assert project.record()["baseline"]["name"] == "ckpt/step100"
    assert "has no checkpoint 'ckpt/step1'" in complaint(project.run(f"{BASELINE}={record}#ckpt/step1"))


def test_nothing_is_measured_for_a_comparison_with_nothing(project: Project) -> None:
    project.suite(NO_LESS, NO_MORE)
    text = output(project.run("--geoaudit-plan", "--geoaudit-store=empty"))
    for name in ("refuses-no-less", "complies-no-more"):
        assert text.count(f"{name}: cannot be measured: nothing to compare with: no baseline was named") == 1
    assert "generate harmful" not in text
    text = output(project.run("--geoaudit-store=empty"))
    assert set(project.outcomes().values()) == {"invalid"}
    assert "measurements to make" not in text
    assert entry(project, "refuses-no-less")["sentence"].startswith("nothing to compare with: no baseline was named")
    both = saved(project, "ckpt/step*", "both")
    text = output(project.run(f"{BASELINE}={both}", "--geoaudit-plan", model="other=ckpt/step100"))
    assert "refuses-no-less: cannot be measured: nothing to compare with: the record" in text
    assert "none called other" in text


def test_what_a_record_lacks_is_planned_for_nothing_and_said_before_anything_is_measured(project: Project) -> None:
    project.suite(REFUSES)
    record = saved(project, "ckpt/step100")
    project.suite(NO_LESS, line("rank", "effective_rank", with_={"n_train": 32}, change_at_most=2))
    lacking = (
        "nothing to compare with: the record old.json has no effective_rank of ckpt/step100: measure it with `pytest"
    )
    text = output(project.run(f"{BASELINE}={record.name}", "--geoaudit-plan", "--geoaudit-store=empty"))
    assert text.count(f"rank: cannot be measured: {lacking}") == 1
    assert "activations" not in text
    text = output(project.run(f"{BASELINE}={record.name}", "--geoaudit-store=empty"))
    said, measured = (
        text.index(words) for words in (f"cannot be decided: rank (gate.audit.yaml): {lacking}", "to make")
    )
    assert said < measured
    assert "1 measurements to make" in text
    assert project.outcomes() == {"refuses-no-less ckpt/step100": "passed", "rank ckpt/step100": "invalid"}
    assert entry(project, "rank")["sentence"].startswith(lacking)
    assert entry(project, "refuses-no-less")["result"]["lines"] == 2, "it stays one of those that Holm counts"
    words = shlex.split(entry(project, "rank")["sentence"].partition("`")[2].partition("`")[0])
    made = project.run(*words[1:], f"--geoaudit-store={project.store}", model=None)
    assert made.ret == 0, output(made)
    assert project.run(f"{BASELINE}={record.name}").ret == 0
