from __future__ import annotations

from dataclasses import replace

import pytest

from geoaudit.audit.comparison import Comparison, compare
from geoaudit.audit.noise import Noise, Spread
from geoaudit.records import Measurement
from tests.audit.changed import flagged, opened, plain, record, refusals


def asr(labels: str, checkpoint: str) -> Measurement:
    """An attack success rate of the same rows."""
    found = refusals(labels, checkpoint=checkpoint)
    return replace(found, measure="attack_success_rate", estimate=sum(label in "ap" for label in labels) / len(labels))


def answers(refused: int, n: int = 200) -> str:
    return "r" * refused + "a" * (n - refused)


def compared(new: list[Measurement], old: list[Measurement], **more: object) -> Comparison:
    return compare(opened(record(*old)), opened(record(*new)), **more)  # type: ignore[arg-type]


def verdicts(found: Comparison) -> list[tuple[str, str]]:
    return [(row.candidate.measure, row.verdict) for row in found.rows]


def both(refused_new: int, refused_old: int) -> tuple[list[Measurement], list[Measurement]]:
    return (
        [asr(answers(refused_new), "new"), refusals(answers(refused_new)), plain(4.0, 3.9, 4.1)],
        [
            asr(answers(refused_old), "old"),
            refusals(answers(refused_old), checkpoint="old"),
            plain(6.0, 5.9, 6.1, checkpoint="old"),
        ],
    )


def test_worse_is_said_by_what_is_better_and_comes_first() -> None:
    found = compared(*both(150, 190))
    assert sorted(verdicts(found)[:2]) == [("attack_success_rate", "worse"), ("refusal_rate", "worse")]
    assert verdicts(found)[2:] == [("effective_rank", "changed")]
    assert found.exit_code == 1
    assert abs(found.rows[0].change) == pytest.approx(0.2)
    assert found.rows[0].adjusted == pytest.approx(3 * found.rows[0].p) or found.rows[0].adjusted >= found.rows[0].p
    new, old = both(190, 150)
    back = compared(new[:2], old[:2])
    assert sorted(verdicts(back)) == [("attack_success_rate", "better"), ("refusal_rate", "better")]
    assert back.exit_code == 0


@pytest.mark.parametrize(
    ("source", "fewer", "more"),
    [
        ("harmful", ("worse", 1), ("better", 0)),
        ("safe-but-scary-contrasts", ("worse", 1), ("better", 0)),
        ("xstest-unsafe", ("worse", 1), ("better", 0)),
        ("benign-utility", ("better", 0), ("worse", 1)),
        ({"file": "own.csv", "label": "harmful"}, ("worse", 1), ("better", 0)),
        ({"file": "own.csv", "label": "harmless"}, ("better", 0), ("worse", 1)),
        ("no-source-here", ("changed", 2), ("changed", 2)),
        (None, ("changed", 2), ("changed", 2)),
    ],
)
def test_whether_refusing_was_right_is_said_by_the_prompts(source: object, fewer: object, more: object) -> None:
    """A safety gate that passes a model which refuses 13 % of harmful requests instead of 81 % is none."""
    low, high = (
        [refusals(answers(refused), parameters={"source": source, "n": 200}, checkpoint=name)]
        for refused, name in ((26, "new"), (162, "new"))
    )
    for new, old, wanted in ((low, high, fewer), (high, low, more)):
        found = compared(new, old)
        assert (found.rows[0].verdict, found.exit_code) == wanted


def test_what_changed_and_has_no_better_side_does_not_end_with_0() -> None:
    new, old = both(180, 180)
    found = compared(new, old)
    assert verdicts(found)[0] == ("effective_rank", "changed")
    assert found.exit_code == 2


def test_nothing_changed_is_nothing_shown() -> None:
    same, old = both(180, 180)
    found = compared(same[:2], old[:2])
    assert {verdict for _, verdict in verdicts(found)} == {"no change shown"}
    assert found.exit_code == 0


def test_the_test_is_two_sided_and_over_all_that_is_compared() -> None:
    """Nine lost of 200 and one won: 0.02 one-sided; shown on neither side, nor among others."""
    new, old = both(180, 190)
    alone = compared(new[:1], old[:1]).rows[0]
    assert alone.verdict == "worse"
    assert alone.p == pytest.approx(2 * alone.found.difference.p_above(0.0))  # type: ignore[union-attr]
    more = [refusals(answers(180), parameters={"k": k, "n": 200}) for k in range(40)]
    olds = [replace(one, checkpoint="old") for one in more]
    among = compared([*new[:1], *more], [*old[:1], *olds])
    row = next(one for one in among.rows if one.candidate.measure == "attack_success_rate")
    assert row.p == alone.p
    assert row.adjusted == pytest.approx(min(1.0, 41 * row.p))
    assert row.verdict == ("worse" if row.adjusted <= 0.05 else "no change shown")


def test_a_margin_and_a_noise_floor_must_be_exceeded() -> None:
    new, old = both(150, 190)
    assert compared(new[:1], old[:1], margin=0.1).exit_code == 1
    found = compared(new, old, margin=0.3)
    assert dict(verdicts(found)) == {
        "attack_success_rate": "no change shown",
        "refusal_rate": "no change shown",
        "effective_rank": "changed",
    }
    assert found.exit_code == 2
    spread = (Spread("dtype", (0.0, 0.3), ("a", "b"), 200),)
    noise = Noise("n.json", "c", (("attack_success_rate", new[0].parameters, spread),))
    assert dict(verdicts(compared(new, old, noise=noise)))["attack_success_rate"] == "no change shown"


def test_what_cannot_be_compared_is_said_with_why() -> None:
    new = [asr(answers(150), "new"), flagged(refusals(answers(150))), plain(4.0, 3.0, 5.0)]
    old = [refusals(answers(150), checkpoint="old"), plain(4, 3, 5, measure="causal_rank", checkpoint="old")]
    found = compared(new, old)
    said = dict(found.left_out)
    assert found.rows == ()
    assert "has no attack_success_rate" in said["attack_success_rate (source harmful)"]
    assert "null-direction" in said["refusal_rate (source harmful)"]
    assert said["causal_rank"] == "the new record has no such measurement"
    assert "effective_rank" in said


def test_another_environment_is_no_comparison_unless_allowed() -> None:
    new, old = record(asr(answers(150), "new")), record(asr(answers(190), "old"))
    old["checkpoints"][0]["contract"] = {**old["checkpoints"][0]["contract"], "dtype": "bfloat16"}
    found = compare(opened(old), opened(new))
    assert found.rows == ()
    assert "--allow-mismatch=dtype" in found.left_out[0][1]
    allowed = compare(opened(old), opened(new), allowed=frozenset({"dtype", "generation"}))
    assert [row.verdict for row in allowed.rows] == ["worse"]


def test_what_hangs_on_unread_answers_is_said_to() -> None:
    new = [asr("a" * 30 + "r" * 170, "new")]
    found = compared(new, [asr("d" * 30 + "r" * 170, "old")])
    assert (verdicts(found), found.exit_code) == ([("attack_success_rate", "unread")], 2)
    assert verdicts(compared(new, [asr("d" + "r" * 199, "old")])) == [("attack_success_rate", "worse")]


def test_several_checkpoints_are_compared_name_by_name() -> None:
    new = [asr(answers(150), "run/step0"), asr(answers(150), "run/step50")]
    old = [asr(answers(190), "run/step0"), asr(answers(150), "run/step50"), asr(answers(150), "run/step100")]
    found = compared(new, old)
    assert {row.name: row.verdict for row in found.rows} == {
        "attack_success_rate (source harmful) on run/step0": "worse",
        "attack_success_rate (source harmful) on run/step50": "no change shown",
    }


def test_a_gap_between_wordings_hides_nothing_that_got_worse() -> None:
    worse = flagged(asr(answers(150), "new"), "paraphrase-gap")
    old = asr(answers(190), "old")
    found = compared([worse], [old])
    assert (verdicts(found), found.exit_code) == ([("attack_success_rate", "worse")], 1)
    better = compared([flagged(asr(answers(190), "new"), "paraphrase-gap")], [asr(answers(150), "old")])
    assert better.rows == ()
    assert "paraphrase-gap" in better.left_out[0][1]
