"""The Markdown summary: what it says, and that nothing in a record is markup, a link or a mention in it."""

from __future__ import annotations

import os
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from geoaudit.report import html, words
from geoaudit.report.summary import LEAST, LIMIT, markdown, undecided, write
from tests.report.hostile import PAYLOAD, everywhere

REPORT = "reports/geoaudit.html"
MARKDOWN = (
    pytest.importorskip("markdown_it").MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
)
TAGS = {
    *("h2", "p", "strong", "table", "thead", "tbody", "tr", "th", "td", "code", "br", "span"),
    *("details", "summary", "ul", "li", "em"),
}
HOSTILE = (
    "a|b | `c` ``` [x](https://evil.test) ![i](//evil.test/i.png) <img src=x onerror=alert(1)> </table></td> "
    "@octocat #12 GH-12 www.evil.test https://evil.test a@b.test\n\n# heading\n- item\n> quote\n\n---\n*em* ~~s~~ "
    "$x^2$ $$y$$ \\| &lt; <!-- x --> :tada: \u202e \x1b[31m \ud800"
)


class Rendered(HTMLParser):
    """What a renderer made of the summary: tags with attributes, and the text of every cell and paragraph."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, list[tuple[str, str | None]]]] = []
        self.open: list[str] = []
        self.text: list[tuple[str, str]] = []
        self.comments: list[str] = []
        self.feed(MARKDOWN.render(text))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, attrs))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open[-1] == tag
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.text.append((self.open[-1] if self.open else "", data))

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def rows(self) -> int:
        return sum(tag == "tr" for tag, _ in self.tags) - 1


def test_the_verdict_then_the_table_worst_first_then_what_it_means_and_where_it_is(record: dict[str, Any]):
    text = markdown(record, REPORT)
    page = Rendered(text)
    assert text.startswith("\n\n## ❌ geoaudit: 5 failed, 1 invalid, 4 inconclusive of 16 assertions\n\n<p>")
    assert page.rows() == 16
    found = [data.split()[-1] for tag, data in page.text if tag == "td" and data.split()[:1] and data[0] in "❌⛔❓✅"]
    assert found == sorted(found, key=["failed", "invalid", "inconclusive", "passed"].index)
    assert len(found) == 16
    for part in ("0.922 [0.862, 0.957]", "≤ 0.1", "128", "not measured: no admissible carrier", "exit code 1"):
        assert part in text
    assert all(words.MEANINGS[word] in text for word in words.OUTCOMES)
    assert "<code>reports/geoaudit.html</code>, record: <code>reports/geoaudit.json</code>" in text
    assert text.count("pytest exit code") == 1


def test_only_the_outcomes_that_occur_are_explained(record: dict[str, Any]):
    record["assertions"] = [one for one in record["assertions"] if one["outcome"] == "passed"]
    text = markdown(record)
    assert [word for word in words.OUTCOMES if words.MEANINGS[word] in text] == ["passed"]
    assert "No report was written." in text


def test_where_estimates_decided_no_interval_is_claimed(make_record: Callable[..., dict[str, Any]]):
    record = make_record(decide="estimate")
    for text in (markdown(record), html.render(record)):
        assert "The whole interval" not in text
        assert "The estimate satisfies the bound" in text


def test_a_replay_says_on_its_first_screen_that_it_is_one(record: dict[str, Any]):
    said = "A replay: decided on 2026 on the numbers of old.json; nothing was measured for it."
    assert said not in markdown(record) + html.render(record)
    record["replayed"] = {"created": "2026", "records": [{"file": "old.json"}]}
    assert said in markdown(record)
    assert said in html.render(record).partition('<div class="scorecard">')[0]


@pytest.mark.parametrize(
    ("outcomes", "code", "status", "sign"),
    [
        (["passed"], 0, "complete", "✅"),
        (["passed"], 1, "complete", "❌"),
        (["passed"], 0, "incomplete", "❌"),
        (["passed"], None, "complete", "❌"),
        (["passed", "inconclusive"], 0, "complete", "❓"),
        (["passed", "inconclusive", "invalid"], 1, "complete", "⛔"),
        (["passed", "invalid", "failed"], 1, "complete", "❌"),
        ([], 5, "complete", "⛔"),
    ],
)
def test_the_sign_is_green_only_for_a_run_that_was_green_and_whole(
    record: dict[str, Any], outcomes: list[str], code: int | None, status: str, sign: str
):
    record["assertions"] = [{**record["assertions"][0], "outcome": outcome} for outcome in outcomes]
    record |= {"status": status, "exit": {"code": code, "reason": ""}}
    text = markdown(record)
    assert text.startswith(f"\n\n## {sign} geoaudit: ")
    assert ("Incomplete" in text) == (status != "complete")


def test_estimates_are_no_gate(make_record: Callable[..., dict[str, Any]]):
    text = markdown(make_record(decide="estimate"))
    assert "not a gate" in text.partition("<table>")[0]
    assert "✅ passed (estimate)" in text


def test_nothing_decided_is_no_empty_page():
    text = undecided(f"an audit was asked for {HOSTILE}")
    assert text.startswith("\n\n## ⛔ geoaudit: nothing was decided\n\n<p>an audit was asked for ")
    assert {tag for tag, _ in Rendered(text).tags} <= TAGS


# --- hostile text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [HOSTILE, PAYLOAD, "`" * 50, "|" * 600, "\n\n" * 9 + "# x", "</code></td></table>\n\n@a"]
)
def test_hostile_text_is_text(record: dict[str, Any], text: str):
    shown = everywhere(record, text)
    shown |= {"geoaudit_record": record["geoaudit_record"], "status": "complete"}
    for one, before in zip(shown["assertions"], record["assertions"], strict=True):
        one |= {name: before[name] for name in ("outcome", "measurement")}
    for one, before in zip(shown["measurements"], record["measurements"], strict=True):
        one["key"] = before["key"]
    made = markdown(shown, text)
    page = Rendered(made)
    assert {tag for tag, _ in page.tags} <= TAGS
    assert all(not attributes for _, attributes in page.tags)
    assert page.open == []
    assert page.comments == []
    assert page.rows() == 16
    assert [tag for tag, _ in page.tags].count("h2") == 1
    # GitHub makes links of what looks like one, mentions, issues and formulas, but not inside <code>
    loose = "".join(data for tag, data in page.text if tag not in ("code", "span"))
    for sign in ("@octocat", "@b.test", "#12", "GH-12", "www.evil", "://", "$", "\x1b", "\u202e", "\x00"):
        assert sign not in loose
    assert "$" not in "".join(data for tag, data in page.text if tag != "span")
    assert made.encode("utf-8")


def test_names_can_be_copied_as_they_are(record: dict[str, Any]):
    record["assertions"] = record["assertions"][:1]
    record["assertions"][0]["checkpoint"] = "org/name@main #1"
    assert "<code>org/name@main #1</code>" in markdown(record)


# --- size ------------------------------------------------------------------------------------------------------------


def long(record: dict[str, Any], n: int, text: str) -> dict[str, Any]:
    one = {**record["assertions"][0], "id": text, "checkpoint": text, "sentence": text, "outcome": "failed"}
    record["assertions"] = [{**one, "id": f"{index} {text}"} for index in range(n)]
    return record


@pytest.mark.parametrize("text", ["<>&'\"" * 200, "\U000e0001" * 600, "猫" * 900])
@pytest.mark.parametrize("limit", [LEAST, LIMIT])
def test_a_summary_fits_and_counts_what_it_leaves_out(record: dict[str, Any], text: str, limit: int):
    record["exit"]["reason"] = text
    for one in record["checkpoints"]:
        one["name"] = text
    made = markdown(long(record, 600, text), "/".join([text] * 20), limit=limit)
    assert len(made.encode()) <= limit
    rows = Rendered(made).rows()
    assert 0 < rows <= 500
    assert f"and {600 - rows} failed more, which are in the report" in made
    assert rows > 10 or limit == LEAST


def test_more_than_five_hundred_rows_are_not_read_by_anybody(record: dict[str, Any]):
    made = markdown(long(record, 520, "x"))
    assert Rendered(made).rows() == 500
    assert "and 20 failed more" in made
    assert "more, which" not in markdown(long(record, 500, "x"))


# --- the file --------------------------------------------------------------------------------------------------------


def test_it_is_appended(tmp_path: Path, record: dict[str, Any]):
    path = tmp_path / "summary.md"
    path.write_text("<div>what an earlier command wrote, without an end of its line")
    assert write(record, REPORT, str(path)) == ""
    assert write(None, "", str(path), "nothing") == ""
    text = path.read_text()
    assert text.startswith("<div>what an earlier command wrote, without an end of its line\n\n## ❌ geoaudit: 5")
    assert text.endswith("## ⛔ geoaudit: nothing was decided\n\n<p>nothing</p>\n\n")
    assert Rendered(text).tags.count(("h2", [])) == 2


def test_a_file_that_is_not_there_is_made(tmp_path: Path, record: dict[str, Any]):
    assert write(record, REPORT, str(tmp_path / "new.md")) == ""
    assert "geoaudit" in (tmp_path / "new.md").read_text()


@pytest.mark.parametrize("path", ["", "no/such/folder/summary.md", ".", "file/summary.md", "nul\0l", "x" * 5000])
def test_a_path_that_cannot_be_written_is_one_line(
    tmp_path: Path, record: dict[str, Any], path: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    warning = write(record, REPORT, path)
    assert warning.startswith("no summary: ")
    assert "(GITHUB_STEP_SUMMARY) cannot be written" in warning
    assert "\n" not in warning
    assert "\0" not in warning


def test_a_pipe_that_nobody_reads_is_no_wait_for_ever(tmp_path: Path, record: dict[str, Any]):
    os.mkfifo(tmp_path / "pipe")
    assert "cannot be written" in write(record, REPORT, str(tmp_path / "pipe"))


def test_a_full_file_is_left_as_it_is(tmp_path: Path, record: dict[str, Any]):
    path = tmp_path / "summary.md"
    path.write_bytes(b"x" * (LIMIT - LEAST + 1))
    assert "is full: GitHub takes 1 MB for a step" in write(record, REPORT, str(path))
    assert path.stat().st_size == LIMIT - LEAST + 1
    path.write_bytes(b"x" * (LIMIT - LEAST))
    assert write(long(record, 600, "<" * 600), REPORT, str(path)) == ""
    assert LIMIT - 20_000 < path.stat().st_size <= LIMIT
