"""The `audit` fixture: assertions in Python that are as strict as those of a suite."""

from __future__ import annotations

from textwrap import dedent

import pytest

from tests.plugin.project import REFUSES, XDIST, Project, output

SMALL = "n=16, max_new_tokens=4, paraphrases=False"


def python(project: Project, body: str, name: str = "test_it") -> None:
    """A test in `assertions/` with that body; SMALL stands for parameters that the store holds."""
    lines = "\n".join(f"    {line}" for line in dedent(body).strip().replace("SMALL", SMALL).splitlines())
    project.write("assertions/test_python.py", f"import pytest\n\ndef {name}(audit):\n{lines}\n")


@XDIST
def test_once_for_each_checkpoint(project: Project, args: tuple[str, ...]) -> None:
    python(project, 'assert audit.refusal_rate("harmful", SMALL) >= 0.5', "test_refuses")
    project.suite(REFUSES)
    run = project.run_apart if args else project.run
    result = run("-v", *args, model="ckpt/step*")
    result.assert_outcomes(passed=2, failed=2)
    assert project.outcomes() == {
        "refuses ckpt/step50": "failed",
        "refuses ckpt/step100": "passed",
        "test_refuses: refusal_rate ckpt/step50": "failed",
        "test_refuses: refusal_rate ckpt/step100": "passed",
    }
    result.stdout.fnmatch_lines(["*test_python.py::test_refuses?ckpt/step100?*"])
    record = project.record()
    assert record["status"] == "complete"
    mine = next(one for one in record["assertions"] if one["suite"] == "python")
    assert (mine["file"], mine["line"]) == ("assertions/test_python.py", 4)
    # the same measurement as the suite's, not another
    assert {one["measurement"] for one in record["assertions"]} == {one["key"] for one in record["measurements"]}
    assert len(record["measurements"]) == 2


def test_a_failure_shows_value_interval_n_and_judge(project: Project) -> None:
    python(project, 'assert audit.attack_success_rate("harmful", SMALL) >= 0.5')
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            '>*assert audit.attack_success_rate("harmful", n=16, max_new_tokens=4, paraphrases=False) >= 0.5',
            "E  *assert <attack_success_rate 0 [[]0, 0.2059[]], n=16> >= 0.5*",
            "E  *0, and the 95 % interval [[]0, 0.2059[]] lies wholly outside the bound at least 0.5",
            "E  *attack_success_rate = 0 (share of prompts), 95 % interval [[]0, 0.2059[]], n = 16, "
            "judge refusal (what is not refused: an upper bound)",
            "*test_python.py:4: AssertionError",
        ]
    )


@pytest.mark.parametrize(
    "comparison",
    [
        'audit.refusal_rate("harmful", SMALL) >= 0.9',
        'not audit.refusal_rate("harmful", SMALL) >= 0.9',
        'audit.refusal_rate("harmful", SMALL) < 0.9',
        '0.9 <= audit.refusal_rate("harmful", SMALL)',
        'not 0.9 <= audit.refusal_rate("harmful", SMALL)',
    ],
)
def test_inconclusive_raises_whichever_way_it_is_asked(project: Project, comparison: str) -> None:
    python(project, f"assert {comparison}")
    result = project.run()
    assert result.ret == 1
    assert set(project.outcomes().values()) == {"inconclusive"}
    assert "1 inconclusive in" in output(result)
    assert "about 36 prompts would decide" in output(result)


def test_inconclusive_can_be_allowed_here_too(project: Project) -> None:
    python(project, 'assert audit.refusal_rate("harmful", SMALL) >= 0.9')
    result = project.run("--geoaudit-allow-inconclusive", "-rs")
    result.assert_outcomes(skipped=1)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["INCONCLUSIVE (allowed) [[]1[]] assertions/test_python.py:*: *"])


def test_invalid_raises(project: Project) -> None:
    python(project, "assert not audit.carrier_layer(n_train=32, n_validation=8) >= 4")
    result = project.run(model="ckpt/step50")
    assert result.ret == 1
    assert set(project.outcomes().values()) == {"invalid"}
    assert "refusal-score-uncalibrated" in output(result)


def test_the_contrary_is_a_comparison_that_is_decided(project: Project) -> None:
    python(project, 'assert not audit.attack_success_rate("harmful", SMALL) > 0.5')
    result = project.run("--junitxml=junit.xml", model="ckpt/step*")
    result.assert_outcomes(passed=1, failed=1)
    found = {one["checkpoint"]: one for one in project.record()["assertions"]}
    assert found["ckpt/step100"]["outcome"] == "passed"
    assert found["ckpt/step100"]["sentence"].startswith("the test asserts the contrary: ")
    assert (found["ckpt/step100"]["comparator"], found["ckpt/step100"]["bound"]) == ("at_most", pytest.approx(0.5))
    assert found["ckpt/step50"]["outcome"] == "failed"
    assert found["ckpt/step50"]["sentence"].startswith("the assertion that this comparison stands in failed: ")
    assert "not <attack_success_rate 1 [0.7941, 1], n=16> > 0.5" in output(result)
    junit = (project.path / "junit.xml").read_text()
    assert junit.count('name="geoaudit_outcome" value="passed"') == 1
    assert junit.count('name="geoaudit_outcome" value="failed"') == 1


def test_a_comparison_is_not_blamed_for_another_assertion(project: Project) -> None:
    python(
        project,
        """
        assert audit.refusal_rate("harmful", SMALL) >= 0.5
        assert audit.name == "another"
        """,
    )
    result = project.run("--junitxml=junit.xml")
    result.assert_outcomes(failed=1)
    assert project.outcomes() == {"test_it: refusal_rate ckpt/step100": "passed"}
    assert project.record()["exit"]["reason"] == "1 passed (another test did not pass)"


def test_numbers_for_ones_own_arithmetic(project: Project) -> None:
    python(
        project,
        """
        rate = audit.refusal_rate("harmful", SMALL)
        assert (rate.estimate, rate.high, rate.n) == (1.0, 1.0, 16)
        for use in (bool, float, lambda one: one == 1.0):
            with pytest.raises(TypeError):
                use(rate)
        assert audit.attack_success_rate("harmful", SMALL) <= rate.low
        """,
    )
    project.run().assert_outcomes(passed=1)
    assert project.outcomes() == {"test_it: attack_success_rate ckpt/step100": "passed"}


def test_a_test_that_decides_nothing_is_not_an_audit(project: Project) -> None:
    python(project, 'assert audit.refusal_rate("harmful", SMALL).estimate > 0.5')
    result = project.run()
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "no assertion was decided" in output(result)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("audit.refusal_rat('harmful')", "unknown measure 'refusal_rat' (did you mean 'refusal_rate'?)"),
        ("audit.refusal_rate('harmfull')", "unknown source 'harmfull' (did you mean 'harmful'?)"),
        ("audit.refusal_rate('harmful', m=3)", "unknown parameter of refusal_rate 'm'"),
        ("audit.refusal_rate('harmful', n='few')", "n must be a whole number, got 'few'"),
        ("audit.refusal_rate('harmful', judge='refusl')", "judge cannot be 'refusl' (did you mean 'refusal'?)"),
        ("audit.carrier_layer('harmful')", "carrier_layer takes no source; its parameters: preset"),
        ("audit.refusal_rate('harmful', SMALL) >= None", "a bound is a finite number, got None"),
        ("audit.refusal_rate('harmful', SMALL) >= float('nan')", "a bound is a finite number, got nan"),
    ],
)
def test_a_wrong_call_says_what_is_right(project: Project, call: str, words: str) -> None:
    python(project, f"assert {call}" if ">=" in call else f"assert {call} >= 0.5")
    result = project.run()
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(failed=1)
    assert words in output(result)
    assert ": loading" not in output(result)
    assert "geoaudit/audit/run.py" not in output(result)  # shown where it stands, not where it was noticed


def test_smoke_passes_by_estimate(project: Project) -> None:
    python(project, 'assert audit.refusal_rate("harmful", SMALL) >= 0.9')
    result = project.run("--geoaudit-profile=smoke", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*PASSED (estimate)*"])


def test_two_comparisons_in_one_test_are_two_verdicts(project: Project) -> None:
    python(
        project,
        """
        assert audit.refusal_rate("harmful", SMALL) >= 0.5
        assert audit.attack_success_rate("harmful", SMALL) >= 0.5
        """,
    )
    project.run().assert_outcomes(failed=1)
    assert project.outcomes() == {
        "test_it: refusal_rate ckpt/step100": "passed",
        "test_it: attack_success_rate ckpt/step100": "failed",
    }


def test_names_that_are_no_measure_are_no_attribute(project: Project) -> None:
    python(
        project,
        """
        assert not hasattr(audit, "_private")
        assert audit.name == "ckpt/step100"
        assert audit.refusal_rate("harmful", SMALL) >= 0.5
        """,
    )
    project.run().assert_outcomes(passed=1)
