"""Lines on another checkpoint's attack: who it is made on is a role or a name, and is checked before anything runs."""

from __future__ import annotations

import pytest

from tests.plugin.project import Project, line, output

SENT = {"source": "harmful", "n": 4, "budget": 2, "width": 4, "max_new_tokens": 4}
BOTH = ("ckpt/step50", "ckpt/step100")


def sent(made_on: str | None = None) -> dict:
    more = {} if made_on is None else {"made_on": made_on}
    return line("holds", "transfer_asr", with_={**SENT, **more}, at_most=0.5)


@pytest.mark.parametrize(
    ("made_on", "asked"), [(None, "ckpt/step100"), ("previous", "ckpt/step100"), ("ckpt/step100", "ckpt/step50")]
)
def test_the_checkpoint_that_it_is_made_on_has_no_such_line(project: Project, made_on: str | None, asked: str) -> None:
    project.suite(sent(made_on))
    result = project.run("--collect-only", "-q", model=BOTH)
    assert output(result).count("::holds[") == 1
    assert f"::holds[{asked}]" in output(result)


def test_the_plan_says_where_it_is_optimised_and_where_it_is_sent(project: Project) -> None:
    project.suite(sent())
    text = output(project.run("--geoaudit-plan", "--geoaudit-store=empty", model=BOTH))
    made = "attack harmful, GCG, 2 steps of 4 candidates, made on this checkpoint of ckpt/step50: 4 prompts"
    assert text.count(made) == 1
    assert "generate harmful, GCG, 2 steps of 4 candidates, made on ckpt/step50: 4 prompts" in text
    assert "holds (" in text


def test_a_checkpoint_that_is_not_there_makes_its_line_invalid_before_anything_is_measured(project: Project) -> None:
    project.suite(sent("ckpt/step5"))
    result = project.run(model=BOTH)
    assert result.ret == 1
    said = " ".join(output(result).split())
    assert (
        "cannot be decided: holds (gate.audit.yaml): there is no checkpoint 'ckpt/step5' in this audit "
        "(did you mean 'ckpt/step50'?): reference, previous, or one of ckpt/step50, ckpt/step100"
    ) in said
    assert "to make" not in said
    assert project.outcomes() == {f"holds {name}": "invalid" for name in BOTH}
