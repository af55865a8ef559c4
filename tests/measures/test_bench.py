"""The bench: rows are measured once, known by what determines them, and kept when a run is killed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.measures.bench import Contract
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import CandidateSearch, Completions, Probe
from geoaudit.model import numerics
from tests.measures.benches import Killed, MemoryRows, never, open_bench
from tests.model.planted import REFUSAL

HARMFUL = Source("harmful")


def asked(n, source=HARMFUL, tokens=3) -> Completions:
    return Completions(source, n, tokens)


def test_nothing_is_opened_when_every_row_is_there(planted):
    rows = MemoryRows()
    first = open_bench(planted(), rows)
    needs = [asked(8), Probe(32), CandidateSearch(Probe(32), 8, 0.8)]
    for need in needs:
        first.fulfil(need)
    second = open_bench(planted(), rows, open_model=never)
    for need in needs:
        second.fulfil(need)
    assert second.made == 0
    assert second.found == first.made
    assert second.fulfil(needs[0]) is second.fulfil(needs[0])


CHANGES = {
    "dtype": {"dtype": "bfloat16"},
    "batch": {"generation_batch": 3},
    "blocks": {"probe_blocks": 16},
    "numerics": {"numerics": numerics.VERSION + 1},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_rows_of_another_contract_are_not_used(planted, change):
    rows = MemoryRows()
    open_bench(planted(), rows).fulfil(asked(4))
    bench = open_bench(planted(), rows, **change)
    bench.fulfil(asked(4))
    assert bench.found == 0


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Contract)])
def test_every_field_of_the_contract_is_in_the_keys_of_rows(planted, field):
    rows = MemoryRows()
    bench = open_bench(planted(), rows)
    bench.fulfil(asked(4))
    now = getattr(bench.contract, field)
    other = dataclasses.replace(
        open_bench(planted(), rows),
        contract=dataclasses.replace(bench.contract, **{field: now + 1 if isinstance(now, int) else now + "x"}),
    )
    other.fulfil(asked(4))
    assert (other.found, other.made) == (0, 1)


def test_what_is_computed_now_is_keyed_by_the_numerics_of_now(planted):
    assert open_bench(planted()).contract.numerics == numerics.VERSION


def test_rows_of_another_checkpoint_system_prompt_or_length_are_not_used(planted):
    rows = MemoryRows()
    open_bench(planted(), rows).fulfil(asked(4))
    for other in (
        open_bench(planted(layer=2), rows),
        open_bench(planted(), rows, system="you bake bread"),
        open_bench(planted(), rows, template="chatml"),
    ):
        other.fulfil(asked(4))
        assert other.found == 0
    longer = open_bench(planted(), rows)
    longer.fulfil(asked(4, tokens=4))
    assert longer.found == 0


def test_progress_ends_at_all(planted):
    bench = open_bench(planted(), generation_batch=4)
    search = CandidateSearch(Probe(32), 8, 0.8)
    for need, total in ((asked(10), 10), (Probe(32), 64), *((one, 8) for one in search.answered), (search, 24)):
        seen = []
        bench.progress = lambda done, of, seen=seen: seen.append((done, of))
        bench.fulfil(need)
        assert seen[-1] == (total, total), "a search counts screening and scoring"
        assert [done for done, _ in seen] == sorted(done for done, _ in seen)


# --- activations -----------------------------------------------------------------------------------------------------


def test_block_means_cover_every_prompt_position_and_layer(planted):
    found = open_bench(planted()).fulfil(Probe(40))
    assert found.tokens == ("<|end|>", "<|assistant|>", "<|answer|>")
    assert found.n == 40
    assert set(found.inputs) == {"probe-harmful-train", "probe-harmless-train"}
    for means in (found.harmful, found.harmless):
        assert means.count.sum() == 40
        assert means.count.size == 32
        assert means.mean.shape == (32, 3, 7, 64)
        assert np.isfinite(means.mean).all()


def test_a_killed_probe_keeps_the_half_that_was_done(planted):
    rows = MemoryRows(lives=1)
    with pytest.raises(Killed):
        open_bench(planted(), rows).fulfil(Probe(32))
    bench = open_bench(planted(), rows.again())
    resumed, whole = bench.fulfil(Probe(32)), open_bench(planted()).fulfil(Probe(32))
    assert (bench.found, bench.made) == (1, 1)
    np.testing.assert_array_equal(resumed.harmful.mean, whole.harmful.mean)
    np.testing.assert_array_equal(resumed.harmless.mean, whole.harmless.mean)


def test_a_template_without_post_instruction_tokens_says_what_to_pass(planted):
    bench = open_bench(planted(), template="none", open_model=never)
    for need in (Probe(32), CandidateSearch(Probe(32), 8, 0.8)):
        with pytest.raises(NothingToMeasure, match=r"no post-instruction tokens.*--geoaudit-template"):
            bench.fulfil(need)


def test_a_broken_checkpoint_stops_every_need_and_stores_nothing(planted):
    def broken():
        raise BrokenCheckpoint("tensor x has 3 NaN")

    rows = MemoryRows()
    bench = open_bench(planted(), rows, open_model=broken)
    for need in (asked(4), Probe(32), CandidateSearch(Probe(32), 8, 0.8)):
        with pytest.raises(BrokenCheckpoint, match="3 NaN"):
            bench.fulfil(need)
    assert rows.rows == {}


# --- refusal tokens --------------------------------------------------------------------------------------------------


def test_the_models_own_refusals_add_their_first_token(planted):
    search = CandidateSearch(Probe(32), 8, 0.8)
    own = set(open_bench(planted()).fulfil(search).refusal_tokens)
    never_refuses = set(open_bench(planted(refuses=False)).fulfil(search).refusal_tokens)
    assert own - never_refuses == {REFUSAL}
