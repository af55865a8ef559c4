"""Audits find what was planted, whatever the architecture, and nothing where nothing was.

A few seeds of `tests/tools/planted_searches.py`, which says how often.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from geoaudit.carriers.select import Selecting
from geoaudit.measures.carrier_needs import search_of
from tests.measures.benches import open_bench
from tests.model.planting import drawn, plant
from tests.tools import planted_searches as tool
from tests.tools.planted_searches import Report, coupled, denied, parameters, probes, searched


def test_place_subspace_and_rank_are_found_by_the_fast_search_as_by_the_exhaustive_one(tmp_path):
    report = searched(drawn("gemma2", 0, 3), tmp_path, causal=False)
    assert report.missed == {}
    assert report.angle < 5
    assert report.rank_error < 0.1


def test_coupling_is_found_where_the_model_refuses_half_of_either_kind(tmp_path):
    report = coupled(drawn("gpt_neox", 0), tmp_path)
    assert report.missed == {}
    assert report.coupling_error < 0.02


@pytest.mark.parametrize(
    ("kind", "family"), [("absent", "llama"), ("elsewhere", "gpt2"), ("constant", "olmo2"), ("norm", "phi3")]
)
def test_nothing_is_trusted_where_no_candidate_carries_refusal(kind, family, tmp_path):
    report = denied(kind, family, 0, tmp_path)
    assert report.missed == {}
    assert report.trusted == 0


def test_what_was_not_planted_is_missed(monkeypatch, tmp_path):
    """The model holds another carrier than the one that is looked for."""
    true, other = drawn("llama", 4, 2), drawn("llama", 5, 2)
    assert {(axis.layer, axis.position) for axis in true.axes} != {(axis.layer, axis.position) for axis in other.axes}

    def exchanged(folder, planting, *texts):
        made = plant(folder, true, *texts)
        return replace(made, planting=planting, axes=made.axes.flip(1), harmfulness=made.harmfulness.flip(0))

    monkeypatch.setattr(tool, "plant", exchanged)
    monkeypatch.setattr(tool, "_agreement", lambda report, bench: None)
    report = searched(other, tmp_path / "search", causal=False)
    assert {"place, cosmic", "place, arditi", "subspace"} <= set(report.missed)
    assert "coupling" in coupled(other, tmp_path / "coupling").missed


def test_another_choice_is_a_tie_only_within_rounding(tmp_path):
    planting = drawn("llama", 4, 1)
    bench = open_bench(plant(tmp_path / "model", planting, *probes()))
    table = bench.fulfil(search_of(parameters("carrier_layer", rule="arditi")))
    winner = tool.selection(table, Selecting("arditi")).selected
    index = [(row.position, row.layer) for row in table.candidates].index((winner.position, winner.layer))

    def with_bypass(change):
        bypass = table.arditi.bypass.copy()
        bypass[index] += change
        return replace(table, arditi=replace(table.arditi, bypass=bypass))

    report = Report(planting)
    assert not list(tool._chosen(report, table, table, Selecting("arditi")))
    (told,) = tool._chosen(report, with_bypass(50.0), table, Selecting("arditi"))
    assert f"exhaustively ({winner.position}, {winner.layer})" in told
    assert report.ties == 0
    runner_up = tool.selection(with_bypass(50.0), Selecting("arditi")).score
    level = with_bypass(runner_up - winner.bypass - 1e-6)
    assert not list(tool._chosen(report, with_bypass(50.0), level, Selecting("arditi")))
    assert report.ties == 1


def test_a_trusted_carrier_would_be_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(tool, "drawn_negative", lambda kind, family, seed: drawn(family, seed, 1))
    monkeypatch.setattr(tool, "_agreement", lambda report, bench: None)
    report = denied("norm", "llama", 4, tmp_path)
    assert report.trusted == report.selected == 3
