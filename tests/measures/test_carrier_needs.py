"""Presets resolve to the published knobs, what is given wins, and the needs follow from the whole resolved set."""

from __future__ import annotations

import subprocess
import sys
from itertools import product

import pytest

from geoaudit.audit import profiles
from geoaudit.audit.plan import resolve
from geoaudit.carriers.select import Selecting
from geoaudit.errors import GeoauditError, RequestError
from geoaudit.measures import carrier_needs
from geoaudit.measures.carrier_needs import (
    PRESETS,
    for_carrier,
    for_causal_rank,
    search_of,
    selecting_of,
    subspaces_of,
    with_preset,
)
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import (
    CandidateSearch,
    Cells,
    Completions,
    Examination,
    Need,
    Probe,
)
from geoaudit.measures.table import get
from geoaudit.prompts.sources import load

GIVEN = {"n_train": 64, "n_validation": 16, "chat": ChatSetting()}


def resolved(profile: str = "standard", **given) -> dict:
    return resolve(get("carrier_layer"), given, profiles.get(profile))


# what the sources print (papers.md §1.1, §3.1, §3.2)
PUBLISHED = {
    "paper": {"rule": "cosmic", "kl_budget": 0.1, "beta": 1.0, "raw": True, "filtered": False, "operator": "linear"},
    "arditi": {
        "rule": "arditi",
        "kl_budget": 0.1,
        "max_layer_fraction": 0.8,
        "induce_threshold": 0.0,
        "filtered": True,
        "scope": "every_site",
        "operator": "linear",
        "n_train": 128,
        "n_validation": 32,
    },
    "cosmic": {
        "rule": "cosmic-affine",
        "kl_budget": 0.1,
        "max_layer_fraction": 0.8,
        "beta": 0.0,
        "raw": True,
        "peaks": True,
        "filtered": False,
        "operator": "affine",
    },
    "geoaudit": {"rule": "cosmic", "raw": False, "peaks": False, "filtered": False, "frontier_kl": 1.0, "beta": 1.0},
}


@pytest.mark.parametrize("preset", PUBLISHED)
def test_a_preset_resolves_to_its_source(preset):
    found = resolved(preset=preset)
    assert found["preset"] == preset
    assert found.items() >= PUBLISHED[preset].items()
    assert set(found) == set(get("carrier_layer").parameters), "the whole set is resolved"


def test_what_a_source_asks_for_and_cannot_be_had_is_as_near_as_there_is():
    """180 and 100 prompts are asked for; all there are, are taken, under every profile."""
    for preset, profile in product(("paper", "cosmic"), ("smoke", "standard", "release")):
        found = resolved(profile, preset=preset)
        assert found["n_train"] == len(load("probe-harmful-train")) == 176
        assert found["n_validation"] == len(load("probe-harmful-validation")) == 72
    assert resolved("smoke")["n_train"] == 64, "the default preset leaves n to the profile"


@pytest.mark.parametrize("preset", PRESETS)
def test_what_is_given_wins(preset):
    others = {
        "rule": "arditi",
        "kl_budget": 0.4,
        "max_layer_fraction": 0.5,
        "beta": 0.25,
        "induce_threshold": -1.0,
        "raw": not PRESETS[preset]["raw"],
        "peaks": not PRESETS[preset]["peaks"],
        "filtered": not PRESETS[preset]["filtered"],
        "scope": "every_site_but_first_token",
        "operator": "affine",
        "contrast": "refused",
        "frontier_kl": 2.0,
        "search": "winner",
        "n_train": 40,
        "n_validation": 9,
        "direction": "nearest",
    }
    for name, value in others.items():
        alone = {"rule": "cosmic", name: value} if name == "operator" else {name: value}
        assert resolved(preset=preset, **alone)[name] == value
    assert resolved(preset=preset, **others).items() >= others.items()


def test_without_a_preset_nothing_changes():
    assert resolved() == resolved(preset="geoaudit")
    table = {name: one.default for name, one in get("carrier_layer").parameters.items()}
    assert {name: resolved()[name] for name in PRESETS["geoaudit"]} == {
        name: table[name] for name in PRESETS["geoaudit"]
    }


@pytest.mark.parametrize("preset", PRESETS)
def test_resolving_twice_is_resolving_once(preset):
    once = with_preset({**GIVEN, "preset": preset, "kl_budget": 0.3})
    assert with_preset(once) == once
    assert once["kl_budget"] == 0.3
    assert resolve(get("carrier_layer"), dict(once), profiles.get("smoke")) == {**once, "direction": "carrier"}


def test_the_affine_rule_implies_its_operator():
    assert resolved(rule="cosmic-affine")["operator"] == "affine"
    assert resolved(preset="cosmic", rule="cosmic")["operator"] == "linear", "COSMIC's linear mode"
    assert resolved(rule="arditi", operator="affine")["operator"] == "affine"
    with pytest.raises(RequestError, match="leave operator out"):
        resolved(rule="cosmic-affine", operator="linear")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"preset": "cosmik"}, "preset cannot be 'cosmik' \\(did you mean 'cosmic'"),
        ({"preset": ["paper"]}, "preset cannot be"),
        ({"preset": None}, "preset cannot be None"),
        ({"rule": "cosmik", "preset": "paper"}, "rule cannot be 'cosmik'"),
        ({"kl_budget": -0.1}, "kl_budget must lie in"),
        ({"beta": float("nan")}, "beta must be a finite number"),
        ({"raw": 1}, "raw is true or false"),
        ({"scope": "all"}, "scope cannot be 'all'"),
    ],
)
def test_a_value_that_cannot_be_is_refused(given, words):
    with pytest.raises(GeoauditError, match=words):
        resolved(**given)


# --- needs -----------------------------------------------------------------------------------------------------------


def test_every_knob_reaches_the_search_or_the_rule():
    """A knob that changed neither would be a promise that nothing keeps."""
    base = {**GIVEN, "search": "frontier"}
    plain = search_of(base), selecting_of(base)
    assert plain == (CandidateSearch(Probe(64), 16, 0.8), Selecting("cosmic"))
    changes = {
        "rule": "arditi",
        "kl_budget": 0.2,
        "max_layer_fraction": 0.5,
        "beta": 0.0,
        "induce_threshold": 1.0,
        "raw": True,
        "peaks": True,
        "filtered": True,
        "scope": "every_site_but_first_token",
        "operator": "affine",
        "contrast": "refused",
        "frontier_kl": 2.0,
        "search": "winner",
        "n_train": 32,
        "n_validation": 8,
        "chat": ChatSetting(system="Be kind."),
    }
    assert set(changes) >= set(PRESETS["geoaudit"])
    for name, value in changes.items():
        assert (search_of({**base, name: value}), selecting_of({**base, name: value})) != plain, name


def test_the_frontier_reaches_at_least_to_the_budget():
    assert search_of({**GIVEN, "kl_budget": 2.5}).frontier_kl == 2.5
    assert search_of({**GIVEN, "kl_budget": 0.5}).frontier_kl == 1.0


def test_the_peak_filter_scores_every_layer_in_full():
    found = search_of({**GIVEN, "peaks": True})
    assert (found.search, found.max_layer_fraction) == ("exhaustive", 1.0)
    assert selecting_of({**GIVEN, "peaks": True}).max_layer_fraction == 0.8
    arditi = search_of({**GIVEN, "peaks": True, "rule": "arditi"})
    assert (arditi.search, arditi.max_layer_fraction) == ("frontier", 0.8)


def test_only_the_search_for_a_winner_knows_its_rule():
    assert search_of({**GIVEN, "search": "winner"}).selecting == selecting_of(GIVEN)
    assert search_of({**GIVEN, "rule": "arditi"}) == search_of(GIVEN), "both rules choose from one table"


def test_the_needs_of_a_carrier():
    needs = for_carrier(GIVEN)
    assert {type(need) for need in needs} == {Probe, Completions, CandidateSearch, Examination}
    assert all(isinstance(need, Need) for need in needs)
    assert needs[-1] == Examination(search_of(GIVEN), selecting_of(GIVEN), "nearest")
    assert for_carrier({**GIVEN, "direction": "nearest"}) == needs, "the nearest is evidence either way"
    refused = for_carrier({**GIVEN, "contrast": "refused"})
    assert Cells(64, ChatSetting()) in refused
    assert search_of({**GIVEN, "contrast": "refused"}) in refused
    rank = for_causal_rank({**GIVEN, "n_held_out": 48})
    assert rank[:-1] == needs
    assert rank[-1] == subspaces_of({**GIVEN, "n_held_out": 48})
    assert (rank[-1].n, rank[-1].direction) == (48, "carrier")
    assert subspaces_of({**GIVEN, "n_held_out": 48, "direction": "nearest"}).direction == "nearest"


def test_planning_imports_nothing_that_computes():
    code = (
        "import sys; import geoaudit.measures.carrier_needs, geoaudit.measures.carrier_table;"
        "sys.exit(bool({'torch', 'numpy', 'scipy', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_module_says_what_of_the_originals_cannot_be_had():
    said = carrier_needs.__doc__ or ""
    for words in ("176 and 72", "five candidate layers", "median peak layers", "null"):
        assert words in said
