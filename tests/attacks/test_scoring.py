"""Many rows at once: passes of any size, memory that runs out, and the two stages of a search for the lowest."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoaudit.attacks import scoring
from geoaudit.attacks.passes import Row, run
from geoaudit.attacks.scoring import Put, losses, lowest, lowest_by_draft
from tests.model.families import FAMILIES, VOCABULARY, tiny_loaded

HEAD = (1, 5, 20, 21, 22, 23)
TARGETS = (tuple(range(29, 43)), tuple(range(24, 33)))


def candidates(n: int, seed: int = 0):
    """Two groups of n puts that begin like kept rows at different lengths, and the prompts they mean."""
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for like, (target, head) in enumerate(zip(TARGETS, (HEAD, HEAD[:5]), strict=True)):
        group = []
        for _ in range(n):
            begins = int(torch.randint(2, len(head) + 1, (), generator=generator))
            rest = torch.randint(9, len(VOCABULARY), (len(head) + 3 - begins,), generator=generator).tolist()
            group.append(Put((*head[:begins], *rest), target, begins, like))
        groups.append(group)
    return groups


def kept_of(loaded):
    return run(loaded, [Row(HEAD), Row(HEAD[:5])], keep=True)[1]


@torch.no_grad()
def entropies_alone(loaded, put):
    """Cross-entropy of each of the target's tokens, the row run whole and by itself."""
    logits = loaded.causal_lm(input_ids=torch.tensor([[*put.prompt, *put.target]])).logits[0].float()
    wanted = torch.tensor(put.target)
    return torch.nn.functional.cross_entropy(logits[len(put.prompt) - 1 : -1], wanted, reduction="none")


@pytest.mark.parametrize("most", [1, 30, 100, 10_000])
def test_the_size_of_a_pass_changes_nothing(monkeypatch, most):
    loaded, rows = tiny_loaded("llama"), [put for group in candidates(6) for put in group]
    monkeypatch.setattr(scoring, "TOKENS_ON_CPU", most)
    monkeypatch.setattr(scoring, "POSITIONS_ON_CPU", most)
    found = losses(loaded, rows, kept_of(loaded))
    expected = [float(entropies_alone(loaded, put).mean()) for put in rows]
    assert found.losses.tolist() == pytest.approx(expected, abs=1e-4)
    assert found.tokens == tuple(len(put.prompt) - put.begins + len(put.target) - 1 for put in rows)


def test_a_pass_that_does_not_fit_is_halved(monkeypatch):
    loaded, rows = tiny_loaded("llama"), [put for group in candidates(8) for put in group]
    kept, sizes = kept_of(loaded), []
    expected = losses(loaded, rows, kept).losses

    def small(loaded, rows, before=None, *, keep=False):
        sizes.append(len(rows))
        if len(rows) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate more")
        return run(loaded, rows, before, keep=keep)

    monkeypatch.setattr(scoring, "run", small)
    torch.testing.assert_close(losses(loaded, rows, kept).losses, expected, atol=1e-5, rtol=0)
    assert sizes == [16, 8, 4, 2, 2, 2, 2, 2, 2, 2, 2], "what did not fit once is not tried again"


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("shapes do not agree")])
def test_what_cannot_be_halved_or_is_another_error_is_raised(monkeypatch, error):
    def never(*args, **kwargs):
        raise error

    loaded = tiny_loaded("llama")
    kept = kept_of(loaded)
    monkeypatch.setattr(scoring, "run", never)
    with pytest.raises(type(error), match=str(error)):
        losses(loaded, candidates(4)[0], kept)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_second_stage_goes_on_where_the_first_ended(name, monkeypatch):
    loaded, groups = tiny_loaded(name), candidates(12)
    monkeypatch.setattr(scoring, "TOKENS_ON_CPU", 100)  # the rows of a group lie in several passes
    monkeypatch.setattr(scoring, "LEAST_SAVED", 1)
    known = [[1.0] * len(target) for target in TARGETS]
    found = lowest(loaded, groups, known, kept_of(loaded), 0.25)
    cuts = [9, 6]  # the first with 60 % of 14, of 9
    for group, own, cut in zip(groups, found, cuts, strict=True):
        each = torch.stack([entropies_alone(loaded, put) for put in group])
        best = each[:, :cut].sum(dim=1).argsort()[:3].sort().values
        assert own.losses.isfinite().nonzero()[:, 0].tolist() == best.tolist()
        torch.testing.assert_close(own.losses[best], each[best].mean(dim=1), atol=1e-4, rtol=0)
        for i, put in enumerate(group):
            first = len(put.prompt) - put.begins + cut - 1
            assert own.tokens[i] == (first + len(put.target) - cut if i in best else first)


@pytest.mark.parametrize("wrong", [None, 2, 11])
def test_a_target_matches_if_it_does_in_both_stages(wrong, monkeypatch):
    monkeypatch.setattr(scoring, "LEAST_SAVED", 1)
    loaded, prompt = tiny_loaded("llama"), [*HEAD, 24, 25]
    said = list(prompt)
    for _ in range(12):
        said.append(int(loaded.causal_lm(input_ids=torch.tensor([said])).logits[0, -1].argmax()))
    target = said[len(prompt) :]
    if wrong is not None:
        target[wrong] = (target[wrong] + 1) % len(VOCABULARY)
    others = [Put((*HEAD, 26, word), tuple(target), len(HEAD), 0) for word in range(30, 36)]
    group = [Put(tuple(prompt), tuple(target), len(HEAD), 0), *others]
    (found,) = lowest(loaded, [group], [[1.0] * 12], kept_of(loaded), 1 / 7)
    assert found.losses.isfinite().tolist() == [True] + [False] * 6
    assert found.matched.tolist() == [wrong is None] + [False] * 6


def test_with_a_share_of_one_every_loss_is_there():
    loaded, groups = tiny_loaded("llama"), candidates(40)
    kept = kept_of(loaded)
    found = lowest(loaded, groups, [[1.0] * len(target) for target in TARGETS], kept, 1.0)
    for group, own in zip(groups, found, strict=True):
        torch.testing.assert_close(own.losses, losses(loaded, group, kept).losses)


def test_what_is_found_for_a_group_does_not_depend_on_the_others():
    loaded, groups = tiny_loaded("llama"), candidates(24)
    kept = kept_of(loaded)
    known = [[1.0] * len(target) for target in TARGETS]
    both = lowest(loaded, groups, known, kept, 0.25)
    assert [int(one.losses.isfinite().sum()) for one in both] == [6, 24], "two stages pay for the first only"
    for group, entropies, own in zip(groups, known, both, strict=True):
        (alone,) = lowest(loaded, [group], [entropies], kept, 0.25)
        torch.testing.assert_close(alone.losses, own.losses)
        assert alone.tokens == own.tokens


def test_of_what_a_draft_ranks_the_best_have_the_models_own_losses():
    loaded, draft, groups = tiny_loaded("llama"), tiny_loaded("llama"), candidates(24)
    draft.model.bfloat16()
    kept = kept_of(loaded)
    found = lowest_by_draft(loaded, draft, groups, [[1.0] * len(target) for target in TARGETS], kept, 1.0)
    for group, own in zip(groups, found, strict=True):
        exact = losses(loaded, group, kept)
        best = own.losses.isfinite()
        assert int(best.sum()) == 3
        torch.testing.assert_close(own.losses[best], exact.losses[best])
        assert exact.losses[~best].min() > exact.losses[best].max() - 0.02, "but for rounding they are the best three"
        assert int(own.losses.argmin()) == int(exact.losses.argmin())
        assert [a > b for a, b in zip(own.tokens, exact.tokens, strict=True)] == best.tolist()


def test_rows_that_are_not_finite_are_given_up(monkeypatch):
    loaded, groups = tiny_loaded("llama"), candidates(24)
    kept = kept_of(loaded)
    broken = groups[0][5]

    def some(loaded, rows, before=None, *, keep=False):
        hidden, kept = run(loaded, rows, before, keep=keep)
        for r, row in enumerate(rows):
            if row.new[: len(broken.prompt) - broken.begins] == broken.prompt[broken.begins :]:
                hidden[r] = torch.nan
        return hidden, kept

    monkeypatch.setattr(scoring, "run", some)
    found = lowest(loaded, groups[:1], [[1.0] * 14], kept, 0.25)[0]
    assert found.losses[5] == torch.inf
    assert int(found.losses.isfinite().sum()) == 6


@settings(max_examples=50)
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=30),
    st.integers(0, 500),
)
def test_the_first_stage_holds_its_share_or_everything(entropies, given_up):
    cut = scoring._cut(entropies, given_up)
    assert 1 <= cut <= len(entropies)
    if cut < len(entropies):
        assert sum(entropies[:cut]) >= scoring.SURE * sum(entropies) - 1e-9
        assert given_up * (len(entropies) - cut) >= scoring.LEAST_SAVED
        assert cut == 1 or sum(entropies[: cut - 1]) < scoring.SURE * sum(entropies)
