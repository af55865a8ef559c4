"""Audits find what was planted, whatever the architecture, and nothing where nothing was.

A few seeds of `tests/tools/planted_searches.py`, which says how often.
"""

from __future__ import annotations

import pytest

from tests.model.planting import drawn
from tests.tools.planted_searches import coupled, denied, searched


@pytest.mark.parametrize(("family", "seed", "rank"), [("gemma2", 0, 1), ("gpt_neox", 1, 2), ("gpt2", 2, 3)])
def test_place_subspace_and_rank_are_found_by_the_fast_search_as_by_the_exhaustive_one(family, seed, rank, tmp_path):
    report = searched(drawn(family, seed, rank), tmp_path, causal=rank == 3)
    assert report.missed == {}
    assert report.angle < 5
    assert report.rank_error < 0.1


def test_coupling_is_found_where_the_model_refuses_half_of_either_kind(tmp_path):
    report = coupled(drawn("olmo2", 0), tmp_path)
    assert report.missed == {}
    assert report.coupling_error < 0.02


@pytest.mark.parametrize(
    ("kind", "family"), [("absent", "llama"), ("elsewhere", "gpt_neox"), ("constant", "olmo2"), ("norm", "gemma2")]
)
def test_nothing_is_trusted_where_no_candidate_carries_refusal(kind, family, tmp_path):
    report = denied(kind, family, 0, tmp_path)
    assert report.missed == {}
    assert report.trusted == 0
