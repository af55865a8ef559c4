from __future__ import annotations

from typing import Any

from geoaudit.report import many, verdict, words
from geoaudit.report.clean import cleaned

Record = dict[str, Any]


def detailed(record: Record) -> list[str]:
    shown = cleaned(record)
    cards = verdict.by_checkpoint(shown, verdict.lines(shown))
    return many.detailed(shown, {name: tally for name, _, tally in cards})


def test_few_checkpoints_are_all_shown(make_record: Any):
    for n in (1, 2, 4):
        assert len(detailed(make_record(checkpoints=n, rows=4, layers=2))) == n


def test_of_many_the_worst_the_last_and_the_first_are_shown(trajectory: Record):
    assert detailed(trajectory) == ["r2d2/step50", "r2d2/step200", "sft/step200"]
    for one in trajectory["assertions"]:
        if one["checkpoint"] == "sft/step100":
            one["outcome"] = "failed"
    assert "sft/step100" in detailed(trajectory)
    assert len(detailed(trajectory)) == many.MOST


def test_the_worst_is_always_among_them(make_record: Any):
    for worst in range(6):
        record = make_record(checkpoints=6, rows=4, layers=2)
        name = record["checkpoints"][worst]["name"]
        for one in record["assertions"]:
            one["outcome"] = "failed" if one["checkpoint"] == name else "passed"
        assert name in detailed(record)


def test_groups_lose_no_line_and_keep_the_worst_first(trajectory: Record):
    lines = verdict.lines(cleaned(trajectory))
    groups = many.groups(lines, together=True)
    assert sorted(line.number for group in groups for line in group.lines) == [line.number for line in lines]
    severities = [words.OUTCOMES.index(group.first.outcome) for group in groups]
    assert severities == sorted(severities)
    for group in groups:
        assert len({(line.assertion["id"], line.outcome) for line in group.lines}) == 1
        assert group.first.kind == "bound" or len(group.lines) == 1
    assert len(groups) < len(lines) == len(many.groups(lines, together=False))


def test_the_words_of_a_group_are_those_of_checkpoints_shown_in_full(trajectory: Record):
    (group,) = [one for one in many.groups(verdict.lines(cleaned(trajectory)), together=True) if len(one.lines) == 7][
        :1
    ]
    assert [line.checkpoint for line in group.told(["sft/step200"])] == ["sft/step200"]
    assert group.told(["nothing"]) == [group.first]
