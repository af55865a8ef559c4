from __future__ import annotations

import copy
import json
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from geoaudit.errors import RequestError
from geoaudit.report import html
from geoaudit.report.clean import cleaned, visible
from tests.report.hostile import PAYLOAD, SHOWS_RECORD_TEXT, everywhere, is_safe, leaves, replaced

LONG = "A" * 5000
OUTCOMES = ["failed", "invalid", "inconclusive", "passed"]
Make = Callable[..., dict[str, Any]]
Read = Callable[[str], Any]


@pytest.fixture(scope="module")
def small(make_record: Make) -> dict[str, Any]:
    record = make_record(checkpoints=2, rows=6, layers=2)
    for one in record["checkpoints"]:
        one.update(system_prompt="Answer briefly.", commit="0123abcd")
    for one in record["measurements"]:
        one["why_missing"] = one["why_missing"] or "never shown"
    return record


def test_the_report_is_one_file_with_one_script_and_without_network(record: dict[str, Any], read_page: Read):
    text = html.render(record)
    page = read_page(text)
    tags = {tag for tag, _ in page.elements}
    assert [tag for tag, _ in page.elements if tag in ("script", "style")] == ["style", "script"]
    assert not tags & {"link", "iframe", "img", "image", "object", "embed", "form", "base", "foreignobject"}
    (policy,) = [a["content"] for t, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name not in ("src", "srcset", "xlink:href", "action", "style")
            assert name != "href" or (value or "").startswith("#")
    assert set(re.findall(r"url\(([^)]*)\)", text)) == {"#hatch", "#cross", "#shade"}
    assert not re.search(r"fetch\(|XMLHttpRequest|import\(|new Image|innerHTML|eval\(", text)


def test_every_link_and_every_label_has_its_target_and_identifiers_are_unique(record: dict[str, Any], read_page: Read):
    page = read_page(html.render(record))
    identifiers = [a["id"] for _, a in page.elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))
    links = {(a["href"] or "")[1:] for _, a in page.elements if "href" in a}
    labels = {part for _, a in page.elements for part in (a.get("aria-labelledby") or "").split()}
    assert links | labels <= set(identifiers)


def test_structure_for_readers_that_do_not_see(record: dict[str, Any], read_page: Read):
    page = read_page(html.render(record))
    tags = [tag for tag, _ in page.elements]
    assert dict(page.elements)["html"] == {"lang": "en"}
    assert tags.count("h1") == tags.count("main") == 1
    headings = [int(tag[1]) for tag in tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after <= before + 1 for before, after in pairwise(headings))
    pictures = [a for tag, a in page.elements if tag == "svg"]
    assert all(a.get("role") == "img" or a.get("aria-hidden") == "true" for a in pictures)
    assert all(a.get("scope") in ("col", "row") for tag, a in page.elements if tag == "th")


def test_the_document_is_well_formed_and_the_same_every_time(record: dict[str, Any]):
    text = html.render(record)
    ET.fromstring(text)
    assert text == html.render(json.loads(json.dumps(record)))


def test_bytes_do_not_depend_on_the_hash_seed(record: dict[str, Any], tmp_path: Path):
    given_record = tmp_path / "r.json"
    given_record.write_text(json.dumps(record), encoding="utf-8")
    code = "import json, sys; from geoaudit.report import html; html.write(json.load(open(sys.argv[1])), sys.argv[2])"
    made = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.html"
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)}
        subprocess.run([sys.executable, "-c", code, str(given_record), str(out)], check=True, env=environment)
        made.append(out.read_bytes())
    assert made[0] == made[1]


def test_verdict_comes_first_and_assertions_are_worst_first(record: dict[str, Any], read_page: Read):
    page = read_page(html.render(record))
    counts = {word: sum(a["outcome"] == word for a in record["assertions"]) for word in OUTCOMES}
    undecided = counts["invalid"] + counts["inconclusive"]
    verdict = f"Not met: {counts['failed']} of 16 assertions failed, and {undecided} could not be decided"
    tally = " ".join(f"{n} {word}" for word, n in counts.items())
    assert page.text.index(verdict) < page.text.index(tally) < page.text.index("pytest exit code 1") < 250
    badges = [
        (a["class"] or "").split("-")[1]
        for tag, a in page.elements
        if tag == "tbody" and (a.get("class") or "").startswith("is-")
    ]
    assert badges == sorted(badges, key=OUTCOMES.index)
    assert len(badges) == 16
    assert set(badges) == set(OUTCOMES)


def test_every_assertion_shows_what_a_reader_needs(record: dict[str, Any], read_page: Read):
    text = read_page(html.render(record)).text
    for one in record["assertions"]:
        for part in (one["id"], one["because"], one["sentence"], f"{one['file']}:{one['line']}"):
            assert part in text
        for flag in one["flags"]:
            assert flag["name"] in text
            assert flag["sentence"] in text


def test_the_first_words_of_a_run_on_estimates_are_not_a_gate(make_record: Make, read_page: Read):
    page = read_page(html.render(make_record(decide="estimate")))
    assert page.text.startswith("This is not a gate: point estimates")
    assert "passed (estimate)" in page.text
    assert read_page(html.render(make_record())).text.startswith("geoaudit")


def test_an_incomplete_audit_says_so_before_the_verdict(record: dict[str, Any], read_page: Read):
    record.update(status="incomplete", exit={"code": 2, "reason": "interrupted"})
    page = read_page(html.render(record))
    assert page.text.startswith("Incomplete: ")
    assert "pytest exit code 2: interrupted" in page.text


def test_all_green_is_said_plainly(record: dict[str, Any], read_page: Read):
    record["assertions"] = [one for one in record["assertions"] if one["outcome"] == "passed"]
    record["exit"] = {"code": 0, "reason": "all passed"}
    assert f"Met: all {len(record['assertions'])} assertions passed" in read_page(html.render(record)).text


def test_missing_is_said_with_its_reason_and_never_a_number(record: dict[str, Any], read_page: Read):
    for one in record["measurements"]:
        one.update(estimate=None, low=None, high=None, n=0, why_missing="the weights are NaN", detail={}, flags=[])
    for one in record["assertions"]:
        one.update(outcome="invalid", sentence="not measured: the weights are NaN", flags=[])
    page = read_page(html.render(record))
    rows = page.text[page.text.index("Assertions, worst first") : page.text.index("What these numbers do")]
    assert rows.count("not measured: the weights are NaN") >= 14
    assert not re.search(r"\b0\.0{2}|\bn = 0\b|\[0", rows)
    assert not [a for tag, a in page.elements if a.get("class") == "interval-bar"]


def test_nothing_of_python_or_of_floats_shows(record: dict[str, Any], read_page: Read):
    record["measurements"][0].update(low=None, high=None, level=None, seed=None, worst=None)
    record["measurements"][4]["detail"]["candidates"][0].update(kl=float("nan"), norm=None)
    text = read_page(html.render(record)).text
    assert not re.search(r"\b(None|nan|NaN|inf|True|False|dict|Undefined)\b|\{'|\[\]", text)


def test_a_bare_record_renders(read_page: Read):
    page = read_page(html.render({"geoaudit_record": 1}))
    assert "<title>Nothing was decided" in html.render({"geoaudit_record": 1})
    assert page.text.startswith("Incomplete")
    assert "Not finished: the audit stopped before its end" in page.text
    assert "Met" not in page.text
    assert "No exit code was recorded" in page.text


def test_a_checkpoint_that_could_not_be_identified(record: dict[str, Any], read_page: Read):
    record["checkpoints"][1] = {
        "name": "broken",
        "kind": "directory",
        "spec": "ckpt/broken",
        "commit": None,
        "model_type": "llama",
        "system_prompt": None,
        "id": None,
        "unidentified": "model.safetensors is truncated",
    }
    assert "not identified: model.safetensors is truncated" in read_page(html.render(record)).text


def test_what_geometry_cannot_say_is_said(record: dict[str, Any], read_page: Read):
    text = read_page(html.render(record)).text
    assert "Alone they do not say whether the model refuses" in text
    for measure in record["measures"].values():
        assert measure["says"] in text
        assert measure["says_not"] in text


def test_the_run_can_be_repeated_from_the_report(record: dict[str, Any], read_page: Read):
    text = read_page(html.render(record)).text
    assert "pytest --geoaudit-model=smollm2-135m '--geoaudit-model=safety-tuned=examples/safety tuned'" in text
    for one in record["measurements"]:
        assert one["key"].removeprefix(f"{one['checkpoint']}/") in text
    for one in record["checkpoints"]:
        assert one["id"] in text
        assert one["weights_sha256"] in text
    assert record["warnings"][0] in text
    assert "2 min 21 s" in text


@pytest.mark.parametrize("checkpoints", [2, 5])
def test_the_file_is_small(make_record: Make, checkpoints: int):
    record = make_record(checkpoints=checkpoints, rows=400)
    assert len(html.render(record).encode()) < 1_000_000


def test_a_file_of_long_strings_is_small(make_record: Make):
    record = everywhere(make_record(rows=60), LONG)
    record["geoaudit_record"] = 1
    assert len(html.render(record).encode()) < 1_000_000


@pytest.mark.slow
def test_every_string_of_the_record_is_escaped(small: dict[str, Any], known: set[tuple[str, str]]):
    shown = visible(PAYLOAD)
    found = set()
    small = {**small, "checkpoints": small["checkpoints"][1:]}
    for part in ("measurements", "assertions"):
        small[part] = [one for one in small[part] if one["checkpoint"] == "safety-tuned"]
    paths = dict.fromkeys(leaves(small))
    assert len(paths) > 90
    for path in paths:
        text = html.render(replaced(small, path, PAYLOAD))
        assert text.count("<script") == 1
        assert "\u202e" not in text
        root = ET.fromstring(text)  # many times faster than the reader of HTML, which has its turn below
        shape = {(part.tag, name) for part in root.iter() for name in ("", *map(str.lower, part.attrib))}
        assert shape <= known
        for part in root.iter():
            assert {name for name, value in part.attrib.items() if "alert(1)" in value} <= SHOWS_RECORD_TEXT
        if shown in "".join(root.itertext()):
            found.add(path)
    must_show = {
        ("checkpoints", "*", "name"),
        ("checkpoints", "*", "spec"),
        ("checkpoints", "*", "template", "rendered"),
        ("checkpoints", "*", "system_prompt"),
        ("assertions", "*", "id"),
        ("assertions", "*", "because"),
        ("assertions", "*", "sentence"),
        ("assertions", "*", "file"),
        ("assertions", "*", "flags", "*", "sentence"),
        ("warnings", "*"),
        ("exit", "reason"),
        ("environment", "platform"),
        ("measurements", "*", "parameters", "source"),
    }
    assert must_show <= found


def test_hostile_strings_and_names_everywhere_at_once(
    small: dict[str, Any], known: set[tuple[str, str]], read_page: Read
):
    record = everywhere(small, PAYLOAD)
    record["geoaudit_record"] = 1
    page = is_safe(html.render(record), read_page, known, "alert(1)")
    assert "Met" not in page.text  # an outcome that is none of the four is never green


def test_hostile_rows_and_tokens_keep_figures_whole(make_record: Make, known: set[tuple[str, str]], read_page: Read):
    record = make_record(rows=20, layers=4)
    for entry in record["completions"].values():
        for row in entry["rows"]:
            row.update(id=PAYLOAD, category=PAYLOAD, label=PAYLOAD, reason=PAYLOAD, sha256=PAYLOAD)
    for one in record["measurements"]:
        if "tokens" in one["detail"]:
            one["detail"]["tokens"] = {position: PAYLOAD for position in one["detail"]["tokens"]}
        for row in one["detail"].get("categories", ()):
            row["category"] = PAYLOAD
            row["counts"] = {PAYLOAD: 3}
    text = html.render(record)
    is_safe(text, read_page, known, "alert(1)")
    tokens = [part.text or "" for part in ET.fromstring(text).iter("code")]
    assert any("<script>" in part for part in tokens)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.characters(), max_size=60))
def test_no_string_can_add_an_element(small: dict[str, Any], known: set[tuple[str, str]], read_page: Read, text: str):
    record = everywhere(small, text)
    record["geoaudit_record"] = 1
    is_safe(html.render(record), read_page, known)


def test_writing_is_atomic_and_leaves_nothing_behind(record: dict[str, Any], tmp_path: Path, monkeypatch: Any):
    target = tmp_path / "reports" / "audit.html"
    html.write(record, target)
    assert target.read_text(encoding="utf-8") == html.render(record)
    assert [path.name for path in target.parent.iterdir()] == ["audit.html"]
    before = target.read_bytes()

    def broken(self: Path, *_: Any, **__: Any) -> None:
        self.touch()
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        html.write(record, target)
    assert target.read_bytes() == before
    assert [path.name for path in target.parent.iterdir()] == ["audit.html"]


def test_what_is_no_record_writes_no_file(tmp_path: Path):
    with pytest.raises(RequestError, match="not a geoaudit record"):
        html.write({"geoaudit_record": 99}, tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_the_record_is_not_changed(record: dict[str, Any]):
    before = copy.deepcopy(record)
    html.render(record)
    assert record == before
    assert cleaned(record) is not record


def test_the_room_imports_nothing_heavy_and_is_quick(record: dict[str, Any], tmp_path: Path):
    given_record = tmp_path / "r.json"
    given_record.write_text(json.dumps(record), encoding="utf-8")
    code = (
        "import json, sys\n"
        "from geoaudit.report import html, terminal\n"
        "record = json.load(open(sys.argv[1]))\n"
        "html.write(record, sys.argv[2]); terminal.summary_lines(record)\n"
        "heavy = {'torch', 'numpy', 'scipy', 'transformers', 'matplotlib', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "rooms = {m.split('.')[1] for m in sys.modules if m.startswith('geoaudit.')}\n"
        "rooms -= {'report', 'records', 'errors'}\n"
        "assert not heavy and not rooms, (heavy, rooms)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, str(given_record), str(tmp_path / "r.html")], check=True, env=environment
    )
    # about 0.3 s alone; room for a busy machine
    assert time.perf_counter() - start < 5
