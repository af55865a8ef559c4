"""`geoaudit compare`: a table worst first, JSON beside it, an exit code; no torch; names out of records are inert."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from geoaudit.cli import main
from tests.audit.changed import flagged, plain, record, refusals
from tests.audit.test_comparison import answers, asr
from tests.test_imports import imported


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`old.json` refuses 190 of 200, `new.json` 150."""
    monkeypatch.chdir(tmp_path)
    for name, refused in (("old", 190), ("new", 150)):
        labels = answers(refused)
        found = record(asr(labels, name), refusals(labels, checkpoint=name))
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    return tmp_path


def test_what_got_worse_is_first_and_ends_with_1(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "old.json", "new.json", "--json", "out.json"]) == 1
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert lines[0].startswith("old: old.json (old, 2026-11-22)")
    assert "WORSE" in lines[3]
    first = lines.index("WORSE: attack_success_rate (source harmful)")
    assert lines[first + 1].split()[:3] == ["0.05", "->", "0.25,"]
    assert "change +0.2 [" in lines[first + 1]
    assert "paired on the same 200 prompts" in lines[first + 2]
    assert "2 compared: 2 worse; 0 not compared" in out
    assert max(map(len, lines)) <= 100
    found = json.loads((files / "out.json").read_text())
    assert [row["verdict"] for row in found["rows"]] == ["worse", "worse"]
    rate = next(row for row in found["rows"] if row["measure"] == "attack_success_rate")
    assert rate["low"] <= 0.2 <= rate["high"]
    assert main(["compare", "new.json", "old.json"]) == 0
    assert "That is not the same as nothing changed" in capsys.readouterr().out


def test_what_may_be_worse_is_said_at_the_end(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, low in (("old", 6.0), ("new", 4.0)):
        found = record(asr(answers(150), name), plain(low, low - 0.1, low + 0.1, checkpoint=name))
        (files / f"{name}.json").write_text(json.dumps(found))
    assert main(["compare", "old.json", "new.json"]) == 2
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "1 changed in a measure that has no better side: read what changed."
    assert "Nothing was shown" not in out
    for name, unread in (("old", "d"), ("new", "a")):
        found = record(asr(unread * 30 + "r" * 170, name))
        (files / f"{name}.json").write_text(json.dumps(found))
    assert main(["compare", "old.json", "new.json"]) == 2
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == "1 may be worse, by what stands in answers that nobody could read."


def test_a_record_with_itself_is_said_to_be_that(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "copy.json").write_text((files / "new.json").read_text())
    for words in (["new.json", "new.json"], ["new.json", "copy.json"], ["new.json#new", "new.json"]):
        assert main(["compare", *words]) == 0
        out = capsys.readouterr().out
        assert out.splitlines()[2].startswith("Both are the same record")
        assert "Nothing was shown to be worse" not in out
    main(["compare", "old.json", "new.json"])
    assert "same record" not in capsys.readouterr().out


def test_two_checkpoints_of_one_record_are_no_record_with_itself(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both = record(*(asr(answers(refused), name) for name, refused in (("a", 190), ("b", 190))))
    (files / "both.json").write_text(json.dumps(both))
    assert main(["compare", "both.json#a", "both.json#b"]) == 0
    out = capsys.readouterr().out
    assert "same record" not in out
    assert "That is not the same as nothing changed" in out


def test_a_reason_is_shown_whole(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("old", "new"):
        stopped = flagged(asr(answers(150), name))
        said = replace(stopped.flags[0], sentence="planted " * 150 + "end of it")
        found = record(replace(stopped, flags=(said,)), refusals(answers(150), checkpoint=name))
        (files / f"{name}.json").write_text(json.dumps(found))
    main(["compare", "old.json", "new.json"])
    out = capsys.readouterr().out
    assert "left out…" not in out
    assert out.count("planted") == 300
    assert "end of it" in " ".join(out.split())


def test_a_margin_and_names_of_checkpoints(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "old.json#old", "new.json#new", "--margin", "0.3"]) == 0
    assert "to exceed: 0.3" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["old.json", "gone.json"], "gone.json"),
        (["old.json#no", "new.json"], "no checkpoint 'no'"),
        (["old.json", "new.json", "--margin", "5"], "five points are 0.05"),
        (["old.json", "new.json", "--allow-mismatch", "dtyp"], "did you mean 'dtype'"),
        (["old.json", "new.json", "--noise", "old.json"], "no noise file"),
        (["old.json", "bare.json"], "share nothing"),
    ],
)
def test_what_cannot_be_is_one_line(
    files: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    (files / "bare.json").write_text(json.dumps(record(checkpoint="new")))
    assert main(["compare", *words]) == 4
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("geoaudit: ")
    assert error.count("\n") == 1


def test_names_from_a_record_do_nothing_to_the_terminal(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = json.loads((files / "new.json").read_text())
    text = json.dumps(data).replace('"harmful"', json.dumps("harm\x1b[31mful\u202e"))
    (files / "new.json").write_text(text)
    (files / "old.json").write_text(
        json.dumps(json.loads((files / "old.json").read_text())).replace(
            '"harmful"', json.dumps("harm\x1b[31mful\u202e")
        )
    )
    main(["compare", "old.json", "new.json"])
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\u202e" not in out


def test_it_needs_no_torch(files: Path) -> None:
    code = """
    import contextlib, io, sys
    from geoaudit.cli import main
    with contextlib.redirect_stdout(io.StringIO()):
        found["code"] = main(["compare", *sys.argv[1:]])
    """
    modules, found = imported(code, str(files / "old.json"), str(files / "new.json"))
    assert found["code"] == 1
    assert not modules & {"torch", "numpy", "scipy", "transformers"}
