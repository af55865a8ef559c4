from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoaudit.report.terminal import COLOURS, MOST, painter, short_lines, show_short, summary_lines

REPORT = "reports/geoaudit.html"


def columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def rows(lines: list[str]) -> list[str]:
    return [
        line for line in lines if line.split() and line.split()[0] in ("failed", "invalid", "inconclusive", "passed")
    ]


@pytest.mark.parametrize("verbose", [-1, 0, 1])
@pytest.mark.parametrize("width", [60, 100])
@pytest.mark.parametrize("decide", ["interval", "estimate"])
def test_no_line_is_wider_than_asked(make_record: Callable[..., dict[str, Any]], verbose: int, width: int, decide: str):
    for line in summary_lines(make_record(decide=decide), REPORT, width=width, verbose=verbose):
        assert columns(line) <= width


def test_the_table_is_worst_first_and_holds_every_assertion(record: dict[str, Any]):
    words = [line.split()[0] for line in rows(summary_lines(record, REPORT))]
    assert words == sorted(words, key=["failed", "invalid", "inconclusive", "passed"].index)
    assert len(words) == len(record["assertions"])
    assert set(words) == {"failed", "invalid", "inconclusive", "passed"}


def test_a_row_has_value_interval_bound_and_n(record: dict[str, Any]):
    (line,) = [
        line for line in summary_lines(record) if "direct-requests-are-refused" in line and "smollm2-135m" in line
    ]
    assert "0.922 [0.862, 0.957]" in line
    assert "≤ 0.1" in line
    assert line.endswith("128")


def test_what_did_not_pass_has_its_reason_beneath(record: dict[str, Any]):
    lines = summary_lines(record)
    for index, line in enumerate(lines):
        word = line.split()[0]
        if word in ("failed", "invalid", "inconclusive"):
            assert lines[index + 1].startswith("    ")
        if word == "passed":
            assert not lines[index + 1].startswith("    ")
    assert any("prompts would decide" in line for line in lines)


def test_missing_is_not_zero(record: dict[str, Any]):
    lines = summary_lines(record)
    index = next(i for i, line in enumerate(lines) if line.startswith("invalid"))
    assert "not measured" in lines[index]
    assert lines[index].rstrip().endswith("≤ 0")  # the bound; no n stands behind it
    assert lines[index + 1].strip().startswith("not measured: no admissible carrier")
    assert not any(word in "\n".join(lines) for word in ("None", "nan", "NaN"))


def test_the_end_gives_the_exit_code_with_its_reason_and_the_report(record: dict[str, Any]):
    assert summary_lines(record, REPORT)[-2:] == [
        f"pytest exit code 1: {record['exit']['reason']}",
        f"report: {REPORT}",
    ]
    assert not any(line.startswith("report:") for line in summary_lines(record))


def test_estimates_are_called_so_first_and_in_each_row(make_record: Callable[..., dict[str, Any]]):
    lines = summary_lines(make_record(decide="estimate"), REPORT)
    assert "not a gate: point estimates" in lines[0]
    assert any(line.startswith("passed (estimate)") for line in lines)
    assert not any(line.startswith("passed ") and not line.startswith("passed (estimate)") for line in lines)


def test_quiet_is_one_line_and_the_report(make_record: Callable[..., dict[str, Any]]):
    record = make_record()
    assert summary_lines(record, REPORT, verbose=-1) == [
        "geoaudit: 5 failed, 1 invalid, 4 inconclusive",
        "report: reports/geoaudit.html",
    ]
    record = make_record(decide="estimate") | {"status": "incomplete"}
    (line,) = summary_lines(record, verbose=-1)
    assert line.startswith("geoaudit (not a gate, incomplete): ")
    record["exit"]["reason"] = "1 passed, x could not be collected " * 20
    (line,) = summary_lines(record, verbose=-1)
    assert line.startswith("geoaudit (not a gate, incomplete): 1 passed")
    assert columns(line) == 100


def test_verbose_shows_because_and_where(record: dict[str, Any]):
    text = "\n".join(summary_lines(record, REPORT, verbose=1))
    assert text.count("because: ") == len(record["assertions"])
    assert "assertions/refusal.audit.yaml:4" in text


def test_nothing_decided_is_said(record: dict[str, Any]):
    record["assertions"] = []
    assert "no assertion was decided: nothing was shown to hold" in summary_lines(record, REPORT)


@pytest.mark.parametrize("outcome", ["failed", "invalid", "inconclusive", "passed"])
def test_the_two_words_that_pytest_does_not_have_are_explained_once(record: dict[str, Any], outcome: str):
    for one in record["assertions"]:
        one["outcome"] = outcome
    found = [line.partition(":")[0] for line in summary_lines(record) if line.startswith(("invalid:", "inconclusive:"))]
    assert found == ([outcome] if outcome in ("invalid", "inconclusive") else [])
    text = " ".join(summary_lines(record))
    assert ("not passed" in text) == bool(found)


# --- many rows -------------------------------------------------------------------------------------------------------


def test_many_checkpoints_are_drawn_together_by_assertion_and_outcome(make_record: Callable[..., dict[str, Any]]):
    record = make_record(checkpoints=30, rows=32, layers=6)
    lines = summary_lines(record, REPORT)
    assert len(lines) < 60
    shown = rows(lines)
    assert len(shown) <= 20
    # every assertion on every checkpoint is in a row or counted beneath one
    more = [int(line.split()[1]) for line in lines if line.startswith("    and ") and " more" in line]
    assert len(shown) + sum(more) == len(record["assertions"]) == 240
    (index,) = [i for i, line in enumerate(lines) if "safe-prompts-are-answered" in line and line.startswith("failed")]
    found = [
        next(row for row in record["measurements"] if row["key"] == one["measurement"])["estimate"]
        for one in record["assertions"]
        if one["id"] == "safe-prompts-are-answered" and one["outcome"] == "failed"
    ]
    span = f"({min(found):.3f} to {max(found):.3f})"
    assert lines[index + 1].startswith(f"    and {len(found) - 1} checkpoints more {span}: r2d2/step100, r2d2/step150")
    assert len(rows(summary_lines(record, verbose=1))) == 240


def test_up_to_twenty_rows_stand_each_for_itself(make_record: Callable[..., dict[str, Any]]):
    record = make_record(checkpoints=4, rows=12, layers=4)
    record["assertions"] = record["assertions"][:20]
    assert len(rows(summary_lines(record))) == 20
    assert not any("more" in line for line in summary_lines(record))


def test_of_many_assertions_the_worst_are_shown_and_the_rest_is_counted(make_record: Callable[..., dict[str, Any]]):
    record = make_record(checkpoints=1, rows=12, layers=4)
    one = record["assertions"][0]
    outcomes = ["passed"] * 150 + ["inconclusive"] * 25 + ["failed"] * 10
    record["assertions"] = [{**one, "id": f"line-{i}", "outcome": word} for i, word in enumerate(outcomes)]
    lines = summary_lines(record, REPORT)
    assert [row.split()[0] for row in rows(lines)] == ["failed"] * 10 + ["inconclusive"] * 10
    assert "and 15 inconclusive, 150 passed more; -v shows all, and so does the report" in lines
    assert len(lines) < 60
    # names beneath the table are bounded too
    assert sum("line-" in line for line in lines) <= 22


# --- colour ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verbose", [-1, 0, 1])
def test_colour_is_on_the_outcome_and_changes_nothing_else(make_record: Callable[..., dict[str, Any]], verbose: int):
    for record in (make_record(), make_record(checkpoints=30, rows=12, layers=4)):
        seen = []

        def paint(text: str, outcome: str, seen: list[str] = seen) -> str:
            seen.append(outcome)
            return f"\x1b[31m{text}\x1b[0m"

        painted = summary_lines(record, REPORT, verbose=verbose, paint=paint)
        bare = [line.replace("\x1b[31m", "").replace("\x1b[0m", "") for line in painted]
        assert bare == summary_lines(record, REPORT, verbose=verbose)
        coloured = [line for line in painted if "\x1b" in line]
        assert len(coloured) == len(seen) == (len(rows(bare)) if verbose >= 0 else 1)
        if verbose >= 0:
            assert all(line.startswith(f"\x1b[31m{word}") for line, word in zip(coloured, seen, strict=True))


def test_the_colours_are_those_of_the_terminal_and_none_where_it_has_none():
    from _pytest._io import TerminalWriter

    writer = TerminalWriter(io.StringIO())
    writer.hasmarkup = True
    assert painter(writer)("failed", "failed") == "\x1b[31m\x1b[1mfailed\x1b[0m"
    assert painter(writer)("passed", "passed") == "\x1b[32mpassed\x1b[0m"
    writer.hasmarkup = False
    assert all(painter(writer)("word", outcome) == "word" for outcome in COLOURS)
    assert set(COLOURS) == {"failed", "invalid", "inconclusive", "passed"}


# --- changes and trajectories ----------------------------------------------------------------------------------------

CHANGE = {
    "against": {"role": "baseline", "name": "main", "id": "0" * 64},
    "estimate": 0.102,
    "low": 0.031,
    "high": 0.17,
    "p": 0.003,
    "adjusted": 0.015,
    "lines": 5,
    "n": 128,
    "method": "paired",
    "candidate": 0.222,
    "other": 0.12,
    "noise": None,
    "mismatches": [],
}
COURSE = {
    "rule": "never_above",
    "trajectory": "r2d2",
    "points": [
        {"checkpoint": f"r2d2/step{step}", "step": step, "estimate": value, "low": value - 0.01, "high": value + 0.01}
        for step, value in ((0, 0.02), (50, 0.31), (100, 0.25))
    ],
    "trend": {},
    "first_failing_step": 50,
}


def changed(record: dict[str, Any], **more: Any) -> dict[str, Any]:
    record["assertions"] = record["assertions"][:1]
    record["assertions"][0] |= {"kind": "change", "comparator": "change_at_most", "bound": 0.05, "outcome": "failed"}
    record["assertions"][0] |= {"result": {**CHANGE, **more}}
    return record


def test_a_change_is_shown_as_a_difference_with_what_it_was_compared_with(record: dict[str, Any]):
    lines = summary_lines(changed(record))
    assert lines[1].split("  ")[-3:] == ["+0.102 [+0.031, +0.170]", "change ≤ +0.05", "128"]
    assert "    against main (baseline): 0.120 → 0.222; p 0.0030, 0.0150 over 5 lines by Holm" in lines
    other = {"name": "dtype", "here": "bfloat16", "there": "float32", "allowed": True}
    text = " ".join(" ".join(summary_lines(changed(record, lines=1, mismatches=["batch", other]))).split())
    assert "Holm" not in text
    assert "differs: batch; dtype: here bfloat16, there float32 (allowed)" in text


def test_a_change_that_could_not_be_measured_has_no_number(record: dict[str, Any]):
    lines = summary_lines(changed(record, estimate=None, low=None, high=None, p=None, other=None))
    assert "not measured" in lines[1]
    assert not any("→" in line or " p " in line or "0.000" in line for line in lines)


def test_names_that_are_too_long_keep_the_ends_by_which_they_differ(record: dict[str, Any]):
    record["assertions"] = [
        {**record["assertions"][0], "checkpoint": f"safety-tuned-with-r2d2/step{step}", "id": f"{'refuses-' * 5}{step}"}
        for step in (25, 50)
    ]
    lines = summary_lines(record)
    assert [line.split()[1][-4:] for line in lines if "…" in line][:2] == ["ep25", "ep50"]


def test_a_trajectory_is_shown_from_its_first_step_to_its_last(record: dict[str, Any]):
    record["assertions"] = record["assertions"][:1]
    record["assertions"][0] |= {
        **{"kind": "across", "comparator": "never_above", "bound": 0.05, "outcome": "failed"},
        **{"checkpoint": "r2d2", "result": COURSE},
    }
    lines = summary_lines(record)
    assert lines[1].split()[:2] == ["failed", "r2d2"]
    assert "0.020 → 0.250     never above 0.05" in lines[1]
    assert "    over 3 checkpoints from step 0 to step 100, first failing step: 50" in lines
    record["assertions"][0] |= {"outcome": "passed", "result": {**COURSE, "first_failing_step": None}}
    assert not any("first failing" in line for line in summary_lines(record))


ODD_RESULTS: list[Any] = [None, "x", [1], {}, {"against": 3, "points": [1, None, {"estimate": "x"}], "estimate": {}}]


@pytest.mark.parametrize("kind", ["change", "across", "x", None, 3])
@pytest.mark.parametrize("result", ODD_RESULTS)
def test_a_result_that_is_none_breaks_nothing(record: dict[str, Any], kind: Any, result: Any):
    for one in record["assertions"]:
        one |= {"kind": kind, "result": result}
    for verbose in (-1, 0, 1):
        for line in summary_lines(record, verbose=verbose):
            assert columns(line) <= 100
            assert "None" not in line


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.text(st.characters(), max_size=200),
    st.integers(60, 120),
    st.integers(-1, 1),
    st.sampled_from(["bound", "change", "across"]),
)
def test_hostile_names_break_no_line(
    make_record: Callable[..., dict[str, Any]], text: str, width: int, verbose: int, kind: str
):
    record = make_record(checkpoints=1, rows=12, layers=4)
    for one in record["assertions"]:
        one.update(id=text, checkpoint=text, sentence=text, because=text, file=text, comparator=text, needed_n=None)
        one.update(
            kind=kind, result={**CHANGE, **COURSE, "against": {"role": text, "name": text}, "mismatches": [text]}
        )
    record["exit"]["reason"] = text
    for line in summary_lines(record, width=width, verbose=verbose):
        assert columns(line) <= width
        assert all(character.isprintable() for character in line)


NON_REFUSAL = "Non-refusal rate (upper bound on ASR)"


def test_an_upper_bound_is_named_under_the_table_with_the_assertions_it_is_in(judged: dict[str, Any]):
    lines = summary_lines(judged)
    assert f"{NON_REFUSAL}, plain requests only: direct-requests-are-refused" in lines
    assert any(line.startswith(f"{NON_REFUSAL}, worst of 7 conditions: the-worst-condition-is") for line in lines)
    assert "attacks-do-no-harm" not in "\n".join(line for line in lines if line.startswith("Non-refusal"))
    assert not any("ttack success rate" in line for line in summary_lines(judged, verbose=-1))
    for one in judged["measurements"]:
        one["judge"] = "harmbench"
    assert not any("Non-refusal" in line for line in summary_lines(judged, verbose=1))


def test_checkpoints_whose_overlap_cannot_be_checked_are_named(judged: dict[str, Any], record: dict[str, Any]):
    line = "overlap: not checkable, no training manifest: smollm2-135m"
    assert line in summary_lines(judged)
    assert line not in summary_lines(judged, verbose=-1)
    assert not any("overlap" in line for line in summary_lines(record))


def test_the_curious_see_what_stands_beside_a_rate(judged: dict[str, Any], record: dict[str, Any]):
    text = " ".join(" ".join(summary_lines(judged, verbose=1)).split())
    for part in (
        "judge's error: misses up to 6.2 %",
        "a person's labels: the judge alone",
        "paraphrases: refused 0.937",
    ):
        assert part in text
        assert part not in " ".join(summary_lines(judged))
        assert part not in " ".join(" ".join(summary_lines(record, verbose=1)).split())


@pytest.mark.parametrize("verbose", [-1, 0, 1])
@pytest.mark.parametrize("width", [60, 100])
def test_no_line_of_a_judged_record_is_wider_than_asked(judged: dict[str, Any], verbose: int, width: int):
    for line in summary_lines(judged, REPORT, width=width, verbose=verbose):
        assert columns(line) <= width or line.startswith("report:")


# --- behind pytest's short summary -----------------------------------------------------------------------------------


def reported(outcome: str, name: str, why: str = "the judge says the same of everything") -> Any:
    passed = {"outcome": "passed", "sentence": "kept"}
    return SimpleNamespace(nodeid=name, geoaudit=[passed, {"outcome": outcome, "sentence": why}])


class Written(list[str]):
    """A terminal reporter of pytest that keeps its lines."""

    def __init__(self, stats: dict[str, list[Any]], letters: str = "fE", verbose: int = 0, silent: bool = False):
        super().__init__()
        self.stats, self.reportchars, self.no_summary, self.isatty = stats, letters, silent, False
        writer = SimpleNamespace(markup=lambda text, **_: text, fullwidth=80)
        self.config = SimpleNamespace(get_verbosity=lambda: verbose, get_terminal_writer=lambda: writer)

    def write_sep(self, sep: str, title: str, **markup: bool) -> None:
        self.append(f"{sep} {title}")

    write_line = list.append


def test_items_that_pytest_has_no_letter_for_are_listed_with_their_reason():
    stats = {
        "inconclusive": [reported("inconclusive", "a.yaml::y[m]", "too few")],
        "invalid": [reported("invalid", "x")],
    }
    assert short_lines(stats) == [
        "INVALID x - the judge says the same of everything",
        "INCONCLUSIVE a.yaml::y[m] - too few",
    ]
    assert short_lines({"failed": [reported("failed", "x")], "passed": [reported("passed", "y")]}) == []


def test_of_many_such_items_the_rest_is_counted():
    stats = {name: [reported(name, f"{name}-{k}") for k in range(MOST)] for name in ("invalid", "inconclusive")}
    lines = short_lines({**stats, "inconclusive": stats["inconclusive"][:3]})
    assert len(lines) == MOST + 1
    assert lines[-1] == "and 3 inconclusive more"


def test_the_name_of_an_item_is_never_cut_and_its_reason_is():
    name = "assertions/" * 12 + "x.audit.yaml::id[m]"
    (line,) = short_lines({"invalid": [reported("invalid", name, "why\n\x1b[31m " * 40)]})
    head, _, why = line.partition(" - ")
    assert head == f"INVALID {name}"
    assert len(why) <= 30
    assert why.endswith("…")
    assert line.isprintable()


def test_they_stand_under_the_heading_of_pytest_and_follow_its_letters():
    heading, stats = "= short test summary info", {"invalid": [reported("invalid", "x", "why")]}
    for letters, more, head in (
        ("fE", {}, [heading]),
        ("sxXEf", {"failed": [1]}, []),
        ("fE", {"skipped": [1]}, [heading]),
    ):
        show_short(out := Written({**stats, **more}, letters))
        assert out == [*head, "INVALID x - why"]
    for out in (
        Written(stats, ""),
        Written(stats, "E"),
        Written(stats, verbose=-1),
        Written(stats, silent=True),
        Written({}),
    ):
        show_short(out)
        assert out == []


def test_a_replay_says_so_in_a_short_line(record: dict[str, Any]):
    assert not any("replay" in line for line in summary_lines(record))
    files = [{"file": name} for name in ("a.json", "b.json", "b.json")]
    record["replayed"] = {"created": "2026-11-22T08:35:13Z", "records": files}
    assert summary_lines(record)[0] == "A replay of a.json, b.json: nothing was measured."
    assert summary_lines(record, verbose=-1)[0].startswith("geoaudit (replay): ")
    record["replayed"] = {"records": "x"}
    assert "A replay of earlier records: nothing was measured." in summary_lines(record)


def test_fewer_prompts_than_asked_for_are_said_under_a_row_that_passed(record: dict[str, Any]):
    one = next(one for one in record["assertions"] if one["outcome"] == "passed")
    said = "asked for 500 prompts, and harmful holds 128"
    one["flags"] = [*one["flags"], {"name": "fewer-prompts", "effect": "note", "sentence": said}]
    lines = summary_lines(record)
    (at,) = (i for i, line in enumerate(lines) if said in line)
    assert lines[at] == f"    fewer-prompts: {said}"
    assert lines[at - 1].startswith("passed")
