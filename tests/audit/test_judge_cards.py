from __future__ import annotations

import json

import pytest

from geoaudit.audit.judge_cards import cards
from geoaudit.judges import JUDGES


def test_the_cards_of_all_judges_that_were_asked_are_kept():
    asked = [
        {"judge": "refusal", "detail": {"judges": [{"judge": "refusal"}, {"judge": "harmbench"}]}},
        {"judge": ""},
        {"judge": "mine"},
    ]
    found = cards(asked)
    assert list(found) == ["refusal", "harmbench"]
    assert found["refusal"]["says"] == "refusal"
    assert cards([]) == {}


@pytest.mark.parametrize("name", sorted(JUDGES))
def test_a_card_is_the_judge_s_own_and_fits_into_a_record(name: str):
    found = cards([{"judge": name}])[name]
    card = JUDGES[name].card
    assert json.loads(json.dumps(found)) == found
    assert (found["limits"], found["language"], found["licence"]) == (card.limits, card.language, card.licence)
    assert [row["found"] / row["positives"] for row in found["agreement"]] == [
        one.sensitivity for one in card.agreement
    ]
    assert [row["left"] / row["negatives"] for row in found["agreement"]] == [one.specificity for one in card.agreement]
