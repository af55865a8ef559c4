"""What each entrance imports: nothing heavy before it is needed, and nothing at all to decide again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "transformers",
    "matplotlib",
    "jinja2",
    "pydantic",
    "safetensors",
    "tokenizers",
    "peft",
)
ROOT = Path(__file__).resolve().parent.parent


def imported(code: str, *arguments: str) -> tuple[set[str], dict]:
    """Heavy packages that a new process imports while it runs `code`, and what it leaves in `found`."""
    tail = f"""
    import json, sys
    print(json.dumps([sorted(set({HEAVY!r}) & set(sys.modules)), found]))
    """
    run = subprocess.run(
        [sys.executable, "-c", "found = {}\n" + textwrap.dedent(code) + textwrap.dedent(tail), *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert run.returncode == 0, run.stderr
    modules, found = json.loads(run.stdout.splitlines()[-1])
    return set(modules), found


def test_the_check_can_fail():
    assert imported("import numpy")[0] == {"numpy"}


@pytest.mark.parametrize(
    "module", ["geoaudit", "geoaudit.plugin", "geoaudit.errors", "geoaudit.records", "geoaudit.cli"]
)
def test_the_surface_is_light(module):
    assert imported(f"import {module}")[0] == set()


def test_reading_a_suite_and_the_table_is_light():
    code = """
    from pathlib import Path
    from geoaudit.audit import decide, plan, profiles, schema, store, subject, suite, verdict
    from geoaudit.measures import needs, table
    found["suites"] = [suite.read(path).name for path in sorted(Path("assertions").glob("*.audit.yaml"))]
    found["schema"] = len(schema.suite_schema())
    """
    modules, found = imported(code)
    assert modules == set()
    assert "smoke" in found["suites"]


@pytest.mark.parametrize("module", ["html", "terminal", "figures", "carrier_figure", "behaviour", "verdict", "words"])
def test_the_report_reads_a_record_and_no_model(module):
    modules, _ = imported(f"import geoaudit.report.{module}")
    assert modules <= {"jinja2"}


@pytest.mark.parametrize(
    "module", ["carriers", "carriers.select", "judges", "judges.refusal", "prompts.sources", "stats.proportions"]
)
def test_rooms_that_need_no_tensors_bring_none(module):
    assert not imported(f"import geoaudit.{module}")[0] & {"torch", "scipy", "transformers"}


@pytest.fixture(scope="module")
def audited(planted, tmp_path_factory):
    """A checkpoint and a store that holds everything that the suite below asks of it."""
    from geoaudit.audit import profiles
    from geoaudit.audit.measuring import Options
    from geoaudit.audit.run import Auditor
    from geoaudit.audit.suite import read
    from geoaudit.model.checkpoint import resolve_all

    folder = tmp_path_factory.mktemp("audited")
    checkpoint = planted(layer=1, position=-1).folder
    suite = folder / "a.audit.yaml"
    suite.write_text(SUITE)
    options = Options(profiles.get("standard"), folder / "store", "cpu", None, None, None)
    audit = Auditor(resolve_all([f"ckpt={checkpoint}"]), options, lambda line: None)
    planned = [audit.plan("ckpt", line.measure, line.parameters) for line in read(suite).assertions]
    assert all(audit.measurement(one).estimate is not None for one in planned)
    return folder, checkpoint


SUITE = """\
geoaudit: 1
suite: again
assertions:
  - id: rate
    measure: attack_success_rate
    with: {n: 16, max_new_tokens: 3, paraphrases: false}
    at_most: 0.5
    because: a paper
  - id: layer
    measure: carrier_layer
    with: {n_train: 32, n_validation: 8, rule: arditi}
    equals: 1
    because: a paper
  - id: rank
    measure: effective_rank
    with: {n_train: 32}
    at_most: 1.5
    because: a paper
"""

AGAIN = """
    import json, sys, time
    from pathlib import Path
    from geoaudit.audit import profiles, record, recording
    from geoaudit.audit.decide import decide
    from geoaudit.audit.measuring import Options
    from geoaudit.audit.run import Auditor
    from geoaudit.audit.suite import read
    from geoaudit.audit.verdict import verdict_of
    from geoaudit.model.checkpoint import resolve_all
    from geoaudit.report import html

    folder, checkpoint, text = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    (folder / "changed.audit.yaml").write_text(text)
    profile = profiles.get("standard")
    audit = Auditor(
        resolve_all([f"ckpt={checkpoint}"]), Options(profile, folder / "store", "cpu", None, None, None), print
    )
    suite = read(folder / "changed.audit.yaml")
    verdicts = []
    for line in suite.assertions:
        planned = audit.plan("ckpt", line.measure, line.parameters)
        measurement = audit.measurement(planned)
        decision = decide(line.comparator, line.bound, measurement, by="interval")
        verdicts.append(verdict_of(line, suite.name, "ckpt", planned.key, measurement, decision))
    made = recording.build(
        auditor=audit, profile=profile, command=[], verdicts=[one.to_json() for one in verdicts],
        suites=[{"name": suite.name, "file": "a", "sha256": suite.sha256}], exit_code=0, exit_reason="",
        complete=True, warnings=[], timings={},
    )
    record.write(made, folder / "again.json")
    html.write(made, folder / "again.html")
    found = {"outcomes": [one.outcome for one in verdicts], "seconds": time.process_time()}
"""


def test_a_changed_threshold_is_decided_and_reported_without_torch_or_scipy(audited):
    folder, checkpoint = audited
    modules, found = imported(AGAIN, str(folder), str(checkpoint), SUITE)
    assert found["outcomes"] == ["passed", "passed", "passed"]
    changed = SUITE.replace("at_most: 0.5", "at_least: 0.5").replace("equals: 1", "equals: 2")
    modules, found = imported(AGAIN, str(folder), str(checkpoint), changed)
    assert found["outcomes"] == ["failed", "failed", "passed"]
    assert not modules & {"torch", "scipy", "transformers", "numpy", "tokenizers", "peft"}
    assert found["seconds"] < 3
    assert (folder / "again.html").stat().st_size > 1000


REPORTED = """
    import sys, time
    from pathlib import Path
    from geoaudit import cli

    started = time.process_time()
    found["code"] = cli.main(["report", *sys.argv[2:], "-o", str(Path(sys.argv[1]) / "merged.html")])
    found["seconds"] = time.process_time() - started
"""


def test_records_are_reported_and_merged_without_torch(tmp_path):
    from geoaudit.audit.record import write
    from tests.audit.test_merge import one_of

    for step in (50, 100):
        write(one_of(f"run/step{step}"), tmp_path / f"{step}.json")
    modules, found = imported(REPORTED, str(tmp_path), str(tmp_path / "50.json"), str(tmp_path / "100.json"))
    assert found["code"] == 0
    assert not modules & {"torch", "scipy", "transformers", "numpy", "tokenizers", "peft"}
    assert found["seconds"] < 3
    assert (tmp_path / "merged.html").stat().st_size > 1000


@pytest.mark.slow
def test_what_is_not_in_the_store_does_import_torch(audited):
    """The control: the same process with one parameter changed has to measure."""
    folder, checkpoint = audited
    modules, _ = imported(AGAIN, str(folder), str(checkpoint), SUITE.replace("n: 16", "n: 17"))
    assert {"torch", "scipy", "transformers"} <= modules
