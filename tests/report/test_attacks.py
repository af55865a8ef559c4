from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from geoaudit.report import attack_figure, attacks, beside, html, titles
from tests.report import example_attacks
from tests.report.drawn import by_class, drawn
from tests.report.hostile import ODD, PAYLOAD, alone, everywhere, is_safe

Make = Callable[..., dict[str, Any]]
NAMES = ["smollm2-135m", "safety-tuned"]


@pytest.fixture
def attacked(make_record: Make) -> dict[str, Any]:
    return example_attacks.attacked(make_record(rows=4, layers=2))


def test_a_row_is_where_text_was_made_and_a_column_where_it_was_sent(attacked: dict[str, Any]):
    (one,) = attacks.attacks(attacked)
    assert one.title == "GCG, 100 steps of 64 candidates"
    assert one.how == "harmful · judge refusal · seed 0"
    assert one.targets == NAMES
    table = [(name, [cell.value for cell in cells]) for name, cells in one.table]
    assert table == [
        ("no attack", ["0.938 [0.812, 1.000]", "0.062 [0.000, 0.188]"]),
        ("smollm2-135m", ["0.875 [0.750, 1.000]", "0.094 [0.000, 0.219]"]),
        ("safety-tuned", ["", "0.156 [0.031, 0.281]"]),
    ]
    assert [[cell.own for cell in cells] for _, cells in one.table] == [[False, False], [True, False], [False, True]]


def test_the_diagonal_is_filled_by_what_a_transfer_says_of_home(attacked: dict[str, Any]):
    attacked["measurements"] = [one for one in attacked["measurements"] if one["measure"] == "transfer_asr"]
    (one,) = attacks.attacks(attacked)
    assert one.targets == NAMES
    assert [[cell.value for cell in cells] for name, cells in one.table if name == NAMES[0]] == [
        ["0.875 [0.750, 1.000]", "0.094 [0.000, 0.219]"]
    ]
    assert one.table[0][1][0].value == "", "plain requests were not put to it"


def test_what_a_checkpoint_says_itself_goes_before_what_stands_beside_another(attacked: dict[str, Any]):
    for order in (1, -1):
        record = {**attacked, "measurements": attacked["measurements"][::order]}
        record["measurements"] = copy.deepcopy(record["measurements"])
        for row in record["measurements"]:
            if row["measure"] == "transfer_asr":
                row["detail"]["at_home"]["estimate"] = 0.5
        (one,) = attacks.attacks(record)
        assert one.cells[NAMES[0], NAMES[0]]["estimate"] == 0.875


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("attack", "autodan"),
        ("budget", 50),
        ("width", 32),
        ("seed", 1),
        ("source", "advbench"),
        ("n", 8),
        ("judge", "harmbench"),
    ],
)
def test_attacks_that_were_made_otherwise_share_no_table(attacked: dict[str, Any], parameter: str, value: Any):
    row = attacked["measurements"][-1]
    row["parameters"] = {**row["parameters"], parameter: value}
    row["judge"] = row["parameters"]["judge"]
    assert len(attacks.attacks(attacked)) == 2


def test_rates_that_no_attack_was_optimised_for_have_no_table(make_record: Make):
    record = make_record(rows=4, layers=2)
    assert attacks.attacks(record) == []
    assert 'id="optimised"' not in html.render(record)


def test_the_page_says_what_stands_beside_the_rate(attacked: dict[str, Any], read_page: Any):
    text = read_page(html.render(attacked)).text
    for said in (
        "Optimised attacks: where text was made, and where it was sent",
        "sent to safety-tuned",
        "not asked",
        "0.062 [0.000, 0.188] answered when the same behaviours are plainly asked, n = 32; 0.188 answered one way or "
        "the other (more under the attack: 4 behaviours, less: 1)",
        "budget 100 steps of 64; loss of the target 2.40 before and 0.900 nats a token after (medians), lowered for 31 "
        "of 32 behaviours, word for word the likeliest answer for 7",
        "0.875 [0.750, 1.000] on smollm2-135m, which it was made on, n = 32",
        "Non-refusal rate (upper bound on ASR), GCG, 100 steps of 64 candidates, made on smollm2-135m",
    ):
        assert said in text, said


def test_assertions_on_several_checkpoints_are_told_apart(attacked: dict[str, Any], read_page: Any):
    asserted = attacked["assertions"][0]
    own = [
        row
        for row in attacked["measurements"]
        if row["measure"] == "attack_success_rate" and "optimised" in row["detail"]
    ]
    lines = [{**asserted, "id": "made-here", "checkpoint": row["checkpoint"], "measurement": row["key"]} for row in own]
    text = read_page(html.render({**attacked, "assertions": lines})).text
    for name in NAMES:
        assert f"made-here on {name} (" in text
    (one, _) = lines
    text = read_page(html.render({**attacked, "assertions": [one]})).text
    assert "asserted by made-here (" in text


def test_under_a_judge_of_harm_a_transfer_is_called_by_its_name(attacked: dict[str, Any]):
    row = {**attacked["measurements"][-1], "judge": "harmbench"}
    assert titles.title(attacked, "transfer_asr", row).startswith(
        "Attack success rate of another checkpoint's attack, GCG"
    )


def test_refusals_are_worded_as_refusals():
    found = {
        **example_attacks.share(20),
        "n": 32,
        "safer": "higher",
        "either": 0.5,
        "only_attacked": 1,
        "only_direct": 2,
    }
    (text,) = [text for name, text in beside.facts({"detail": {"direct": found}}) if name == "plain requests"]
    assert "refused when the same behaviours are plainly asked" in text
    assert "0.500 refused both ways" in text


def test_every_identifier_is_used_once_and_the_page_is_well_formed(attacked: dict[str, Any], read_page: Any):
    text = html.render(attacked)
    ET.fromstring(text)
    identifiers = [a["id"] for _, a in read_page(text).elements if "id" in a]
    assert len(identifiers) == len(set(identifiers))


def test_hostile_strings_everywhere(attacked: dict[str, Any], known: set[tuple[str, str]], read_page: Any):
    known = known | read_page(html.render(attacked)).shape
    record = everywhere(attacked, PAYLOAD)
    record["geoaudit_record"] = 1
    is_safe(html.render(record), read_page, known, "alert(1)")


@pytest.mark.parametrize("odd", ODD)
def test_odd_fields_leave_the_report_standing(attacked: dict[str, Any], odd: Any):
    record = alone(attacked, "transfer_asr")
    (row,) = record["measurements"]
    detail = row["detail"]
    for field in detail:
        row["detail"] = {**detail, field: odd}
        assert "What these numbers do" in html.render(record)
    for part in ("optimised", "direct", "at_home"):
        for field in detail[part]:
            row["detail"] = {**detail, part: {**detail[part], field: odd}}
            assert "What these numbers do" in html.render(record)


def test_the_curve_falls_as_the_losses_do():
    points = attacks.points(example_attacks.optimised("m", first=2.0, last=1.0))
    element = drawn(attack_figure.losses(points, uid="f1", title="t", unit="step"))
    (path,) = by_class(element, "running")
    pairs = [tuple(map(float, part.split())) for part in path.get("d", "").lstrip("M").split("L")]
    assert len(pairs) == 11
    assert pairs[0][0] == 46
    assert pairs[-1][0] == 344
    falls = [after[1] - before[1] for before, after in pairwise(pairs)]
    assert all(fall > 0 for fall in falls), "down the page"
    assert element[1].text == "median 2.00 before the first step, 1.00 after the last"


def test_a_curve_of_one_point_and_of_none():
    one = [{"step": 0, "low": 1.0, "median": 1.0, "high": 1.0}]
    assert drawn(attack_figure.losses(attacks.points({"curve": one}), uid="f1", title="t", unit="step"))
    assert attack_figure.losses(attacks.points({"curve": [{"step": None}]}), uid="f1", title="t", unit="step") == ""
