"""The suite grammar: what is read, and that whatever is wrong is one error with its line and column."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from geoaudit.audit.suite import Suite, read
from geoaudit.audit.values import check_parameter
from geoaudit.errors import GeoauditError, SuiteError
from geoaudit.measures.definition import Parameter
from geoaudit.measures.inputs import Source
from geoaudit.measures.table import MEASURES

GOOD = """\
# a comment
geoaudit: 1
suite: gate
about: what it is for
assertions:
  - id: few-succeed
    measure: attack_success_rate
    with: {source: harmful, attack: direct, n: 100}
    at_most: 0.05
    because: a bound from a paper
    checkpoints: 'r2d2/*'
    steps: [50, 100]
  - id: rank-one
    measure: effective_rank
    between: [1.0, 1.5]
    because: another paper
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str | bytes) -> Path:
        path = tmp_path / "gate.audit.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


@pytest.fixture
def problem(write):
    """The message of the suite error, without the file, which must come first."""

    def problem(text: str | bytes) -> str:
        path = write(text)
        with pytest.raises(SuiteError) as error:
            read(path)
        message = str(error.value)
        assert message.startswith(f"{path}:")
        assert "\n" not in message
        return message.removeprefix(f"{path}:")

    return problem


def one(line: str, measure: str = "attack_success_rate") -> str:
    """A suite of one assertion with `line` in line 6, where the key begins in column 5."""
    head = f"geoaudit: 1\nsuite: gate\nassertions:\n  - id: one\n    measure: {measure}\n"
    return f"{head}    {line}\n    because: a paper\n"


def test_every_word_of_a_suite_is_read(write):
    suite = read(write(GOOD))
    assert (suite.name, suite.about) == ("gate", "what it is for")
    first, second = suite.assertions
    assert (first.id, first.measure, first.comparator, first.bound) == (
        "few-succeed",
        "attack_success_rate",
        "at_most",
        (0.05,),
    )
    assert first.parameters == {"source": Source("harmful"), "attack": "direct", "n": 100}
    assert (first.because, first.checkpoints, first.steps) == ("a bound from a paper", "r2d2/*", (50, 100))
    assert (second.comparator, second.bound, second.parameters) == ("between", (1.0, 1.5), {})
    assert (second.checkpoints, second.steps) == (None, None)
    assert (first.line, second.line) == (6, 13)
    assert first.file == suite.file == str(write(GOOD))


def test_the_hash_follows_the_text(write):
    first = read(write(GOOD)).sha256
    assert read(write(GOOD)).sha256 == first
    assert read(write(GOOD.replace("0.05", "0.06"))).sha256 != first


@pytest.mark.parametrize(
    "form", [GOOD.replace("\n", "\r\n"), "\ufeff" + GOOD, "---\n" + GOOD], ids=["crlf", "bom", "---"]
)
def test_line_ends_marks_and_document_starts_change_nothing(write, form):
    plain, other = read(write(GOOD)), read(write(form))
    assert [a.bound for a in other.assertions] == [a.bound for a in plain.assertions]
    assert other.assertions[0].because == "a bound from a paper"
    shift = form.startswith("---")
    assert [a.line - shift for a in other.assertions] == [6, 13]


@pytest.mark.parametrize("prefix", ["", "\ufeff"])
def test_a_byte_order_mark_does_not_shift_columns(problem, prefix):
    assert problem(f"{prefix}geoaudit: 2\nsuite: a\nassertions: []\n").startswith("1:11: grammar version 2")


# --- where and what --------------------------------------------------------------------------------

WRONG = {
    "unknown key of a suite": ("suite: gate", "suit: gate", "3:1", "'suit' in the suite (did you mean 'suite'?)"),
    "unknown key of an assertion": ("at_most", "at_mots", "9:5", "(did you mean 'at_most'?)"),
    "unknown measure": ("effective_rank", "effective_ranks", "14:14", "(did you mean 'effective_rank'?)"),
    "unknown parameter": ("attack: direct", "atack: direct", "8:29", "(did you mean 'attack'?)"),
    "unknown choice": ("attack: direct", "attack: dierct", "8:37", "(did you mean 'direct'?)"),
    "unknown source": ("source: harmful", "source: harmfull", "8:20", "(did you mean 'harmful'?)"),
    "twice in an assertion": ("at_most: 0.05", "at_most: 0.05\n    at_most: 0.9", "10:5", "'at_most' is given twice"),
    "twice in the parameters": ("n: 100", "n: 100, n: 10", "8:53", "'n' is given twice"),
    "twice in the suite": ("about: what", "suite: b\nabout: what", "4:1", "'suite' is given twice"),
    "two comparators": ("at_most: 0.05", "at_most: 0.05\n    at_least: 0.01", "6:5", "got at_most and at_least"),
    "no comparator": ("    at_most: 0.05\n", "", "6:5", "equals, change_at_most, change_at_least, got none"),
    "no because": ("    because: another paper\n", "", "13:5", "no key 'because'"),
    "empty because": ("because: another paper", "because: ' '", "16:14", "because is empty"),
    "no id": ("- id: rank-one\n    measure", "- measure", "13:5", "no key 'id'"),
    "id used before": ("id: rank-one", "id: few-succeed", "13:5", "used before, in line 6"),
    "upper-case id": ("id: rank-one", "id: Rank-one", "13:9", "must be lower case"),
    "id with a space": ("id: rank-one", "id: rank one", "13:9", "must be lower case"),
    "unicode id": ("id: rank-one", "id: größe", "13:9", "must be lower case"),
    "id that looks like an option": ("id: rank-one", "id: -rank", "13:9", "must be lower case"),
    "id that is a number": ("id: rank-one", "id: 12", "13:9", "must be text, got 12"),
    "checkpoints that are a list": (
        "    because:",
        "    checkpoints: [a]\n    because:",
        "16:18",
        "checkpoints is one name, or a glob such as 'r2d2/*', got a list",
    ),
    "id that is a list": ("id: rank-one", "id: [a]", "13:9", "must be a single value, got a list"),
    "measure that is a list": ("measure: effective_rank", "measure: [effective_rank]", "14:14", "single value"),
    "reversed between": ("[1.0, 1.5]", "[1.5, 1.0]", "15:14", "between [1.5, 1] is empty"),
    "between of three": ("[1.0, 1.5]", "[1.0, 1.5, 2.0]", "15:14", "between takes [low, high]"),
    "between of one number": ("[1.0, 1.5]", "1.5", "15:14", "between takes [low, high]"),
    "impossible": ("at_most: 0.05", "at_most: 5", "9:14", "bound 5 is impossible: attack_success_rate lies in [0, 1]"),
    "negative": ("at_most: 0.05", "at_most: -0.1", "9:14", "bound -0.1 is impossible"),
    "says nothing": ("at_most: 0.05", "at_most: 1.0", "9:14", "the bound says nothing"),
    "says nothing from below": ("at_most: 0.05", "at_least: 0", "9:15", "the bound says nothing"),
    "says nothing on both sides": ("at_most: 0.05", "between: [0, 1]", "9:14", "the bound says nothing"),
    "equals a continuous value": ("between: [1.0, 1.5]", "equals: 1", "15:13", "equals is for discrete measures only"),
    "parameter out of range": ("n: 100", "n: 0", "8:48", "n must lie in [1, ∞], got 0"),
    "parameter of another type": ("n: 100", "n: 1.5", "8:48", "n must be a whole number, got 1.5"),
    "parameter that is true": ("n: 100", "n: true", "8:48", "n must be a whole number, got True"),
    "parameters that are a list": ("{source: harmful, attack: direct, n: 100}", "[harmful]", "8:11", "got a list"),
    "step that is no whole number": ("[50, 100]", "[50, 0.5]", "12:12", "steps are whole numbers"),
    "step below zero": ("[50, 100]", "[-1]", "12:12", "steps are whole numbers"),
    "no steps": ("[50, 100]", "[]", "12:12", "steps must be a list"),
    "steps that are one number": ("[50, 100]", "50", "12:12", "steps must be a list"),
    "empty checkpoints": ("'r2d2/*'", "''", "11:18", "checkpoints is empty"),
    "no version": ("geoaudit: 1\n", "", "2:1", "no key 'geoaudit'"),
    "another version": ("geoaudit: 1", "geoaudit: 2", "2:11", "grammar version 2 is not known here; this is 1"),
    "version that is true": ("geoaudit: 1", "geoaudit: true", "2:11", "grammar version True"),
    "version that is text": ("geoaudit: 1", "geoaudit: '1'", "2:11", "grammar version '1'"),
    "version that is no whole number": ("geoaudit: 1", "geoaudit: 1.0", "2:11", "grammar version 1.0"),
}


@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_named_with_its_line_and_column(problem, case):
    old, new, place, words = case
    assert GOOD.count(old) >= 1
    message = problem(new.join(GOOD.rsplit(old, 1)) if old.startswith("    because") else GOOD.replace(old, new, 1))
    assert message.startswith(f"{place}: ")
    assert words in message


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("", "1:1", "the suite is empty"),
        ("# only a comment\n", "1:1", "the suite is empty"),
        ("- a\n- b\n", "1:1", "the suite must be a mapping of keys to values, got a list"),
        ("just text\n", "1:1", "the suite must be a mapping of keys to values, got 'just text'"),
        ("geoaudit: 1\nsuite: a\nassertions: []\n", "3:13", "at least one entry, got an empty list"),
        ("geoaudit: 1\nsuite: a\nassertions:\n", "3:12", "at least one entry"),
        ("geoaudit: 1\nsuite: a\nassertions:\n  - text\n", "4:5", "the assertion must be a mapping"),
        ("geoaudit: 1\nsuite: a\nassertions: {a: 1}\n", "3:13", "must be a list"),
        ("geoaudit: 1\nsuite: [1\nassertions: 2\n", "3:11", "not YAML"),
        ("geoaudit: 1\nsuite: a\n\tassertions: 2\n", "3:1", "not YAML"),
        ("geoaudit: 1\n---\ngeoaudit: 1\n", "2:1", "not YAML"),
        ("geoaudit: 1\nsuite: a\x00b\n", "2:9", "not YAML: the character U+0000"),
        ("geoaudit: 1\nsuite: 'a\n", "3:1", "not YAML"),
        ("? [a]\n: 1\n", "1:3", "unknown key '?'"),
        ("1: 2\n", "1:1", "unknown key '1'"),
    ],
)
def test_a_file_that_is_no_suite(problem, text, place, words):
    message = problem(text)
    assert message.startswith(f"{place}: ")
    assert words in message


def test_bytes_that_are_no_text(problem):
    assert problem(b"geoaudit: 1\nsuite: caf\xe9\n").startswith("1:1: cannot read the suite: 'utf-8'")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(SuiteError, match=r"none\.audit\.yaml:1:1: cannot read the suite"):
        read(tmp_path / "none.audit.yaml")
    with pytest.raises(SuiteError, match=":1:1: cannot read the suite"):
        read(tmp_path)


def test_nesting_without_end_is_an_error_and_no_crash(problem):
    assert problem("[" * 3000).startswith("1:1: ")
    assert problem("geoaudit: " + "{a: " * 3000).startswith("1:1: ")


# --- values that are not what they look like -------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "0.05%",
        "5%",
        '"0.05"',
        "'0.05'",
        "1e-3",
        "1.0e3",
        "0,05",
        "true",
        "no",
        ".nan",
        ".NaN",
        "nan",
        ".inf",
        "-.inf",
        "0:05",  # sixty to the hour in YAML 1.1
        "1:30",
        "010",  # octal
        "0.0.5",
        "1_0",
        "0x1",
        "0b1",
        "2024-01-01",
        "null",
        "~",
        "",
        "[0.05]",
        "{a: 1}",
        "<<",
        "=",
        "1" * 400,
        "1" * 5000,
        "1.0e+400",
        "|\n      0.05",
    ],
)
def test_what_is_no_plain_number_is_no_bound(problem, text):
    assert problem(one(f"at_most: {text}", "carrier_layer")).startswith(("6:14: ", "6:13: ")), "at the value itself"


@pytest.mark.parametrize(
    ("text", "value"),
    [("0.05", 0.05), ("5.0e-2", 0.05), (".5", 0.5), ("+0.5", 0.5), ("0", 0.0), ("1.e-1", 0.1), ("0.10", 0.1)],
)
def test_plain_numbers(write, text, value):
    assert read(write(one(f"at_most: {text}"))).assertions[0].bound == (value,)


@pytest.mark.parametrize("text", ["1e-3", "-1e-3", "1E-3", "1.0e3"])
def test_scientific_numbers_that_yaml_takes_for_text_are_explained(problem, text):
    assert "write 1.0e-3, with dot and sign" in problem(one(f"at_most: {text}"))


def test_an_octal_step_is_not_read_as_another_step(problem):
    assert "plain decimals, got '050'" in problem(GOOD.replace("[50, 100]", "[050, 100]"))


@pytest.mark.parametrize("text", ["yes", "on", "3", "1.5", "2024-01-01", "null", "[a paper]", ".nan"])
def test_text_that_yaml_takes_for_something_else_must_be_quoted(problem, write, text):
    assert problem(GOOD.replace("a bound from a paper", text)).startswith("10:14: because ")
    if not text.startswith("["):
        quoted = GOOD.replace("a bound from a paper", f"'{text}'")
        assert read(write(quoted)).assertions[0].because == text


ATTACKS = {
    "python object": "!!python/object:os.system {source: harmful}",
    "python call": "!!python/object/apply:os.system ['true']",
    "python name": "!!python/name:os.system",
    "custom tag": "!mine {source: harmful}",
    "standard tag": "!!map {source: harmful}",
    "anchor": "&a {source: harmful}",
    "alias": "{source: &a harmful, judge: *a}",
    "merge": "{<<: {source: harmful}}",
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_no_tags_anchors_or_merges(problem, attack):
    message = problem(one(f"with: {attack}\n    at_most: 0.05"))
    assert message.startswith("6:")
    assert "not part of the grammar" in message or "unknown key '<<'" in message


@pytest.mark.parametrize(
    "value", ["!!float '1e-3'", "!!int 'x'", "!!str 0.05", "!!int '[a'", "!!float '!!python/none'"]
)
def test_a_tag_does_not_make_a_number(problem, value):
    assert problem(one(f"at_most: {value}")).startswith("6:14: not YAML: tags and aliases are not part of the grammar")


def test_an_alias_that_holds_itself(problem):
    assert problem("geoaudit: 1\nsuite: a\nassertions: &a [*a]\n").startswith("3:13: ")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("equals: 3.5", "bound 3.5 is impossible: carrier_layer is a whole number"),
        ("equals: -1", "bound -1 is impossible"),
        ("at_least: 0", "says nothing"),
    ],
)
def test_bounds_on_whole_numbers(problem, line, words):
    assert words in problem(one(line, "carrier_layer"))


def test_equals_on_a_whole_number(write):
    assert read(write(one("equals: 3", "carrier_layer"))).assertions[0].bound == (3.0,)
    assert read(write(one("equals: -2", "carrier_position"))).assertions[0].bound == (-2.0,)


def test_an_open_range_is_written_out(problem):
    assert "carrier_position lies in [−∞, -1]" in problem(one("at_least: 0", "carrier_position"))
    assert "effective_rank lies in [1, ∞]" in problem(one("at_most: 0.5", "effective_rank"))


@pytest.mark.parametrize("measure", MEASURES)
def test_no_measure_takes_a_bound_that_every_value_satisfies(problem, measure):
    low, high = MEASURES[measure].range
    if low is not None:
        assert "says nothing" in problem(one(f"at_least: {low:.1f}", measure))
    if high is not None:
        assert "says nothing" in problem(one(f"at_most: {high:.1f}", measure))
    if low is not None and high is not None:
        assert "says nothing" in problem(one(f"between: [{low:.1f}, {high:.1f}]", measure))


# --- sources ---------------------------------------------------------------------------------------


def with_file(file: str, more: str = "") -> str:
    return one(f"with: {{source: {{file: {file}{more}}}}}\n    at_most: 0.05")


def test_a_file_is_looked_for_beside_the_suite(write, tmp_path, monkeypatch):
    folder = tmp_path / "prompts"
    folder.mkdir()
    (folder / "mine.csv").write_text("q,kind\nhow,a\n")
    path = write(with_file("prompts/mine.csv", ", column: q, category: kind, label: harmless"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for folder_now, suite in ((elsewhere, path), (tmp_path, Path(path.name))):
        monkeypatch.chdir(folder_now)
        (source,) = read(suite).assertions[0].parameters.values()
        assert source == Source("mine.csv", str(tmp_path / "prompts/mine.csv"), "q", "kind", "harmless")


@pytest.mark.parametrize(
    "file", ["none.csv", "'.'", "'../'", "harmful", '"a\\0b"', "x" * 300, "loop.csv", "'~/none.csv'", "sub/none.csv"]
)
def test_a_file_that_is_not_there_is_found_out_before_anything_runs(problem, tmp_path, file):
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    message = problem(with_file(file))
    assert message.startswith("6:27: no such file: ")
    assert "relative to the suite file" in message


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (", label: evil", "label is harmful or harmless, got 'evil'"),
        (", colum: q", "(did you mean 'column'?)"),
        (", column: 3", "column must be text, got 3"),
        (", column: ''", "column is empty"),
        (", file: b.csv", "'file' is given twice"),
        (", name: x", "unknown key 'name'"),
    ],
)
def test_what_a_source_cannot_be(problem, tmp_path, more, words):
    (tmp_path / "a.csv").write_text("prompt\nhow\n")
    assert words in problem(with_file("a.csv", more))


@pytest.mark.parametrize(
    ("name", "text", "more", "words"),
    [
        (
            "a.csv",
            "promt,kind\nhow,x\n",
            "",
            "a.csv:1: column 'prompt' does not exist (did you mean 'promt'?); columns: promt",
        ),
        (
            "a.csv",
            "q,kind\nhow,x\n",
            ", column: q, category: kin",
            "column 'kin' does not exist (did you mean 'kind'?)",
        ),
        (
            "a.jsonl",
            '{"request": "how"}\n',
            "",
            "a.jsonl:1: no key 'prompt'; keys: request; the source's `column` names",
        ),
        ("a.csv", "prompt\nhow\nhow\n", "", "a.csv:3: this prompt is already on line 2; remove one of them"),
        ("a.txt", "", "", "a.txt: no prompts in this file"),
        ("a.xlsx", "x", "", "use .csv, .jsonl or .txt"),
    ],
)
def test_a_file_of_prompts_is_read_with_the_suite(problem, tmp_path, name, text, more, words):
    """A wrong column is a mistake of the suite: it is said with its line before anything is measured."""
    (tmp_path / name).write_text(text)
    message = problem(with_file(name, more))
    assert message.startswith(f"6:20: {tmp_path / name}")
    assert words in message


def test_a_source_without_a_file(problem):
    assert "needs the key 'file'" in problem(one("with: {source: {column: q}}\n    at_most: 0.05"))
    assert "unknown source 'prompts.csv'; a file is {file: prompts.csv}; " in problem(
        one("with: {source: prompts.csv}\n    at_most: 0.05")
    )
    assert "a file is" not in problem(one("with: {source: harmfull}\n    at_most: 0.05"))
    assert "source must be a single value, got a list" in problem(one("with: {source: [harmful]}\n    at_most: 0.05"))


# --- which checkpoints -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "yes"),
    [
        ("r2d2/step50", True),
        ("r2d2/step-0100", True),
        ("r2d2/50", True),
        ("r2d2/step500", False),
        ("r2d2/step5", False),
        ("r2d2/step50-final", False),
        ("r2d2/final", False),
        ("sft/step50", False),
        ("R2D2/step50", False),
        ("r2d2", False),
    ],
)
def test_glob_and_steps_say_which_checkpoints_a_line_concerns(write, name, yes):
    assert read(write(GOOD)).assertions[0].concerns(name) is yes


def test_without_either_a_line_concerns_every_checkpoint(write):
    assert all(read(write(GOOD)).assertions[1].concerns(name) for name in ("a", "b/step5", "[x]"))


# --- parameters ------------------------------------------------------------------------------------

NUMBER = Parameter("a number", "float", low=0.0, high=1.0)
WHOLE = Parameter("a whole number", "int", low=1)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.1, 1.1, True, "0.5", None, [0.5]])
def test_a_number_parameter_takes_finite_numbers_in_its_range(value):
    with pytest.raises(GeoauditError, match=r"^x "):
        check_parameter("x", NUMBER, value)


@pytest.mark.parametrize("value", [0, 1, 0.5])
def test_a_number_parameter_comes_out_as_a_float(value):
    found = check_parameter("x", NUMBER, value)
    assert found == value
    assert type(found) is float


@pytest.mark.parametrize("value", [0, -1, 1.0, True, "3", None, math.nan])
def test_a_whole_parameter_takes_whole_numbers_only(value):
    with pytest.raises(GeoauditError, match=r"^x "):
        check_parameter("x", WHOLE, value)


@pytest.mark.parametrize("value", [0, 1, "true", "yes", None])
def test_a_bool_parameter_takes_true_and_false_only(value):
    with pytest.raises(GeoauditError, match="true or false"):
        check_parameter("x", Parameter("", "bool"), value)
    assert check_parameter("x", Parameter("", "bool"), True) is True


@pytest.mark.parametrize("value", ["enrgy", "", 1, None, True, ["energy"]])
def test_a_choice_takes_its_choices_only(value):
    with pytest.raises(GeoauditError, match="one of energy, other"):
        check_parameter("x", Parameter("", "choice", choices=("energy", "other")), value)


# --- anything at all -------------------------------------------------------------------------------

quick = settings(deadline=None, max_examples=150, derandomize=True)


def outcome(folder: Path, text: str) -> Suite | SuiteError:
    path = folder / "fuzz.audit.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
    try:
        return read(path)
    except SuiteError as error:
        place = str(error).removeprefix(f"{path}:").split(":")
        # one past the last line, where a file ends too early
        assert 1 <= int(place[0]) <= text.count("\n") + text.count("\r") + 2
        assert int(place[1]) >= 1
        return error


@quick
@given(st.text(max_size=80))
@example("\ud800")
@example("%YAML 3.0\n---\na: 1")
@example("%TAG ! tag:x,2000:\n--- !a b")
@example("a: *x")
@example("\x85\u2028")
def test_any_text_is_a_suite_or_a_suite_error(tmp_path_factory, text):
    assert isinstance(outcome(tmp_path_factory.getbasetemp(), text), SuiteError)


@quick
@given(
    st.integers(0, len(GOOD) - 1),
    st.integers(0, 12),
    st.text(st.sampled_from("&*!|>{}[]:,-'\"#%@?<=~ \n\t019.e_ab"), max_size=4),
)
def test_a_damaged_suite_is_read_or_refused_and_never_crashes(tmp_path_factory, at, cut, put):
    text = GOOD[:at] + put + GOOD[at + cut :]
    found = outcome(tmp_path_factory.getbasetemp(), text)
    if isinstance(found, Suite):
        for line in found.assertions:
            assert all(math.isfinite(value) for value in line.bound)
            assert line.measure in MEASURES
            assert line.because.strip()


def test_the_shipped_suites_are_read_and_say_why():
    files = sorted((Path(__file__).resolve().parents[2] / "assertions").glob("*.audit.yaml"))
    assert {file.name.partition(".")[0] for file in files} >= {"smoke", "refusal", "over-refusal", "refusal-geometry"}
    for file in files:
        suite = read(file)
        assert suite.about
        assert all(len(line.because) > 20 for line in suite.assertions)


@pytest.mark.parametrize("line", range(7))
def test_no_line_of_an_assertion_can_be_lost_unseen(problem, line):
    lines = one("at_most: 0.05").splitlines(keepends=True)
    problem("".join(lines[:line] + lines[line + 1 :]))
