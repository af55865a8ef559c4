"""`geoaudit verify`: a record that is true agrees, and every way of tampering with one that matters is caught."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from geoaudit import cli
from geoaudit.audit.provenance import sealed
from tests.plugin.project import FOUR, RANK, REFUSES, Project

RECORD = "reports/geoaudit.json"


@pytest.fixture
def verified(project: Project, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    def run(*args: str) -> tuple[int, str]:
        capsys.readouterr()
        code = cli.main(["verify", RECORD, "--sample", "1", "--device", "cpu", *args])
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def audited(project: Project) -> Project:
    project.suite(REFUSES, RANK)
    project.run()
    return project


def change(project: Project, edit: Callable[[dict[str, Any]], None], *, seal: bool) -> None:
    """Edit the record; with `seal` the hash of its content is made to fit again."""
    path = project.path / RECORD
    record = json.loads(path.read_text())
    edit(record)
    path.write_text(json.dumps(sealed(record) if seal else record))


def test_a_true_record_agrees(audited: Project, verified: Callable[..., tuple[int, str]]) -> None:
    code, said = verified()
    assert code == 0, said
    assert "content: as it was written" in said
    assert "suite assertions/gate.audit.yaml: unchanged" in said
    assert "checkpoint ckpt/step100: the same content" in said
    assert "outcomes: 2 of 2 decided again alike" in said
    assert "package: the same source" in said
    assert "measuring 2 of 2 again (--sample 1 --seed" in said
    assert "refusal_rate of ckpt/step100: 1 [0.7941, 1], n = 16, all 16 labels alike" in said
    assert "effective_rank of ckpt/step100: " in said


def _label(record: dict[str, Any]) -> None:
    next(iter(record["completions"].values()))["rows"][3]["label"] = "full_compliance"


def _number(record: dict[str, Any]) -> None:
    (one,) = (one for one in record["measurements"] if one["measure"] == "effective_rank")
    one["estimate"] += 0.001


def _interval(record: dict[str, Any]) -> None:
    (one,) = (one for one in record["measurements"] if one["measure"] == "refusal_rate")
    one["low"] = 0.9


@pytest.mark.parametrize("edit", [_label, _number, _interval])
def test_one_label_or_number_changed_is_caught_by_its_hash(audited: Project, verified: Any, edit: Any) -> None:
    change(audited, edit, seal=False)
    code, said = verified("--sample", "0")
    assert code == 1
    assert "DIFFERS   content: the record was changed after it was written" in said


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (_label, "1 of 16 labels differ (harmful-"),
        (_number, "more than the"),
        (_interval, "low: 0.9 in the record, 0.794"),
    ],
)
def test_and_by_measuring_again_where_the_hash_was_made_to_fit(
    audited: Project, verified: Any, edit: Any, words: str
) -> None:
    change(audited, edit, seal=True)
    code, said = verified()
    assert code == 1, said
    assert "content: as it was written" in said
    assert words.partition("(")[0] in said, said


def test_an_outcome_that_the_numbers_do_not_bear(audited: Project, verified: Any) -> None:
    audited.suite({**REFUSES, "at_least": 0.9})
    audited.run()

    def green(record: dict[str, Any]) -> None:
        record["assertions"][0]["outcome"] = "passed"

    change(audited, green, seal=True)
    code, said = verified("--sample", "0")
    assert code == 1
    assert "outcome: refuses on ckpt/step100 is passed, and by its numbers inconclusive" in said


def test_other_weights(audited: Project, verified: Any) -> None:
    code, said = verified("--model", "ckpt/step100=ckpt/step50")
    assert code == 1
    assert "checkpoint ckpt/step100: other content" in said


def test_a_suite_that_was_changed(audited: Project, verified: Any) -> None:
    audited.suite({**REFUSES, "at_least": 0.4}, RANK)
    code, said = verified("--sample", "0")
    assert code == 1
    assert "suite assertions/gate.audit.yaml: changed since" in said
    assert said.splitlines()[-1] == "1 finding differs from the record"


def test_what_cannot_be_looked_at_is_not_agreement(audited: Project, verified: Any) -> None:
    (audited.path / "ckpt").unlink()
    (audited.path / "assertions/gate.audit.yaml").unlink()
    code, said = verified()
    assert code == 2
    (gone,) = (one for one in said.splitlines() if "checkpoint ckpt/step100" in one)
    assert gone == (
        f"open      checkpoint ckpt/step100: no such folder: ckpt/step100 (looked from {audited.path}); "
        "say where it is with --model ckpt/step100=PATH"
    )
    code, said = verified("--model", "ckpt/step100=else/where")
    assert code == 2
    assert "checkpoint ckpt/step100: no such folder: else/where" in said
    assert "HF_HUB_OFFLINE" not in said
    assert "suite assertions/gate.audit.yaml: not here" in said


def test_without_its_suite_a_measurement_is_made_again_from_its_parameters(audited: Project, verified: Any) -> None:
    (audited.path / "assertions/gate.audit.yaml").unlink()
    code, said = verified()
    assert code == 2
    assert "refusal_rate of ckpt/step100: 1 [0.7941, 1], n = 16, all 16 labels alike" in said


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--sample", "1.5"), "a share from 0 to 1"),
        (("--model", "x"), "is not NAME=MODEL"),
        (("--model", "x=ckpt/step50"), "the record has no checkpoint x"),
        (("--store", "reports"), "is not empty"),
    ],
)
def test_what_cannot_be_asked(audited: Project, capsys: Any, args: tuple[str, ...], words: str) -> None:
    assert cli.main(["verify", RECORD, "--sample", "0", *args]) == 4
    assert words in capsys.readouterr().err


def test_the_sample_is_drawn_by_its_seed(project: Project, verified: Any) -> None:
    project.suite(*FOUR, RANK)
    project.run()
    first, again, other = (verified("--sample", "0.3", "--seed", seed)[1] for seed in ("1", "1", "2"))
    measured = [[one for one in said.splitlines() if " of ckpt/step100: " in one] for said in (first, again, other)]
    assert measured[0] == measured[1]
    assert 0 < len(measured[0]) < 4


def test_tests_in_python_are_decided_by_their_numbers(project: Project, verified: Any) -> None:
    asked = '"harmful", n=16, max_new_tokens=4, paraphrases=False'
    project.write("test_it.py", f"def test_it(audit):\n    assert audit.refusal_rate({asked}) >= 0.5\n")
    project.run("test_it.py")
    code, said = verified("--sample", "0")
    assert (code, "outcomes: 1 of 1 decided again alike" in said) == (0, True), said

    def red(record: dict[str, Any]) -> None:
        record["assertions"][0]["bound"] = 0.9

    change(project, red, seal=True)
    code, said = verified("--sample", "0")
    assert code == 1
    assert "is passed, and by its numbers inconclusive" in said
