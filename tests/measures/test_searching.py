"""What is read inside a planted model: means and projections, controls and subspaces, and what is carried over."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from geoaudit.carriers.select import Selecting
from geoaudit.errors import NothingToMeasure
from geoaudit.geometry.directions import BlockMeans, differences, overall
from geoaudit.measures.fulfilled import CELLS
from geoaudit.measures.needs import (
    CandidateSearch,
    Categories,
    Cells,
    Elsewhere,
    Examination,
    Probe,
    Projections,
    SubspaceAblation,
    Transfer,
)
from geoaudit.measures.searching import CONTROLS
from geoaudit.stats.separation import auroc
from tests.measures.benches import SHARED, open_bench

SEARCH = CandidateSearch(Probe(32), 8, 0.8)
ARDITI = Selecting("arditi")
AXIS = 0.99


@pytest.fixture(scope="module")
def bench(planted):
    """Position −2, layer 2."""
    return open_bench(planted(layer=2, position=-2), SHARED)


def axis(bench_, planted_):
    return planted_.direction.double().numpy()


def test_t_inst_stands_apart_from_the_template_tokens(bench):
    means = bench.fulfil(Probe(32))
    assert means.harmful.mean.shape[1] == len(means.tokens) == 3
    assert means.harmful_inst.mean.shape[1] == 1
    at_embedding = differences(means.harmful_inst, means.harmless_inst)[0, 0]
    assert np.linalg.norm(at_embedding) > 0.1, "the last word of the instruction, not a template token"
    assert np.linalg.norm(differences(means.harmful, means.harmless)[:, 0]) < 1e-3


def test_categories_make_up_the_harmless_prompts(bench):
    found = bench.fulfil(Categories(32))
    whole = bench.fulfil(Probe(32))
    assert len(found.names) == len(found.means) >= 7
    counts = np.array([means.count.sum() for means in found.means])
    assert counts.sum() == 32
    mean = sum(count * overall(means) for count, means in zip(counts, found.means, strict=True)) / 32
    np.testing.assert_allclose(mean, overall(whole.harmless), atol=1e-4)


def test_cells_hold_what_the_model_did(bench, planted):
    found = bench.fulfil(Cells(32))
    assert tuple(found.cells) == CELLS
    assert sum(found.n(cell) for cell in CELLS) + found.left_out == 4 * 32
    refused = [found.cells[cell] for cell in CELLS if cell.endswith("refused") and found.cells[cell] is not None]
    complied = [found.cells[cell] for cell in CELLS if cell.endswith("complied") and found.cells[cell] is not None]
    one, other = (
        BlockMeans(np.concatenate([part.count for part in parts]), np.concatenate([part.mean for part in parts]))
        for parts in (refused, complied)
    )
    direction = differences(one, other)[-2, 2]
    assert direction @ axis(bench, planted(layer=2, position=-2)) / np.linalg.norm(direction) > AXIS


def test_the_planted_site_separates_held_out_prompts_and_no_earlier_one_does(bench):
    found = bench.fulfil(Projections(Probe(32), 8))
    assert found.positive.shape == found.negative.shape == (4, 7, 8)
    assert auroc(found.positive[-2, 2], found.negative[-2, 2]) == 1.0
    assert np.isnan(found.positive[1:, 0]).all(), "a template token's embedding is no direction"
    refused = bench.fulfil(Projections(Probe(32), 8, "refused"))
    assert auroc(refused.positive[-2, 2], refused.negative[-2, 2]) == 1.0


@pytest.fixture(scope="module")
def examined(bench):
    return bench.fulfil(Examination(SEARCH, ARDITI, "carrier"))


def test_controls_disturb_as_much_and_induce_nothing(examined, bench):
    table = bench.fulfil(SEARCH)
    index = [(row.position, row.layer) for row in table.candidates].index((-2, 2))
    assert (examined.position, examined.layer) == (-2, 2)
    assert len(examined.control_kl) == CONTROLS
    assert (examined.control_kl <= examined.added_kl.mean()).all()
    assert examined.control_induce.max() < table.arditi.induce[index].mean()
    assert (examined.control_dose > 0).all()


def test_scopes_are_what_the_search_found_and_what_one_layer_does(examined, bench):
    table = bench.fulfil(SEARCH)
    index = [(row.position, row.layer) for row in table.candidates].index((-2, 2))
    assert set(examined.scopes) == {"every_site", "every_site_but_first_token", "single_layer", "affine"}
    np.testing.assert_allclose(examined.scopes["every_site"].bypass, table.arditi.bypass[index], atol=1e-3)
    np.testing.assert_allclose(examined.scopes["every_site"].kl, table.arditi.kl[index], atol=1e-3)
    for scope in examined.scopes.values():
        assert scope.bypass.mean() < 0 < table.base_harmful.mean()


def test_one_direction_carries_all_refusal_and_controls_carry_none(bench):
    found = bench.fulfil(SubspaceAblation(SEARCH, ARDITI, "carrier", 12))
    assert found.base.shape == (12,)
    assert found.ablated.shape == (len(found.kl), 12)
    assert found.controls.shape == (len(found.kl), CONTROLS, 12)
    assert found.base.mean() > 0 > found.ablated[0].mean()
    assert (found.control_kl <= np.maximum(found.kl[:, None], 1e-6)).all()
    assert (found.base - found.controls[0]).mean(axis=1).max() < 0.2 * (found.base - found.ablated[0]).mean()


def test_nothing_is_looked_at_where_nothing_is_admissible(planted):
    bench = open_bench(planted(layer=2, position=-2, refuses=False), SHARED)
    with pytest.raises(NothingToMeasure):
        bench.fulfil(Examination(SEARCH, ARDITI, "carrier"))
    with pytest.raises(NothingToMeasure, match="refuses none"):
        bench.fulfil(dataclasses.replace(SEARCH, contrast="refused"))


def test_a_direction_that_is_carried_over(planted):
    """The carrier of layer 2 in a checkpoint that keeps it, and in one where layer 3 at another position writes it."""
    here, there = (open_bench(planted(layer=layer, position=-1), SHARED) for layer in (2, 3))
    for one, other in ((here, there), (there, here)):
        one.others = lambda name, other=other: other
    moved = there.fulfil(Transfer(SEARCH, ARDITI, "carrier", "here"))
    assert (moved.position, moved.layer) == (-1, 2)
    assert moved.base_harmful.mean() > 0 > moved.ablated.mean(), "the same axis: ablated everywhere it still carries"
    assert here.fulfil(Elsewhere("there", SEARCH)) is there.fulfil(SEARCH)


def test_filtered_searches_keep_what_the_model_treats_as_it_should(bench):
    found = bench.fulfil(dataclasses.replace(SEARCH, probe=Probe(64), n_validation=32, filtered=True))
    assert found.kept.shape == (64,)
    assert found.kept.all(), "this model refuses exactly the harmful ones"
    with pytest.raises(NothingToMeasure, match="keeps 8 of 8 harmful validation prompts"):
        bench.fulfil(dataclasses.replace(SEARCH, filtered=True))


def test_refusal_tokens_come_from_the_whole_trajectory(planted):
    one, other = (open_bench(planted(layer=2, position=-1, refuses=refuses), SHARED) for refuses in (True, False))
    from geoaudit.measures.searching import tokens_of

    alone = tokens_of(other, SEARCH)
    other.trajectory = lambda: [one, other]
    together = tokens_of(other, SEARCH)
    assert set(together) > set(alone)
    assert tokens_of(one, SEARCH) == together
