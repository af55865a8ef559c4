"""R2D2 seen by someone who would like it to be wrong: mistakes that a run would not show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from geoaudit.training import r2d2
from geoaudit.training.joint import joint
from geoaudit.training.losses import Row
from geoaudit.training.pool import Behavior, Pool
from geoaudit.training.r2d2_settings import R2D2
from tests.training.r2d2_tiny import behaviors, recipe, training


def begun(folder: Path, **settings: Any) -> Any:
    """A run in its first micro-step."""
    one = training(folder, recipe(r2d2=settings))
    one.current_gradient_accumulation_steps = 1
    return one


def test_the_attack_has_every_setting_of_the_recipe() -> None:
    given = R2D2(
        width=7,
        topk=5,
        gcg_steps=3,
        positions="random",
        monotone=True,
        filter=False,
        ascii_only=False,
        share=0.5,
    )
    made = r2d2.search(given, 11)
    assert (made.width, made.topk, made.steps, made.seed) == (7, 5, 3, 11)
    assert (made.positions, made.monotone, made.filter, made.ascii_only) == ("random", True, False, False)
    assert not made.early_stop
    assert (made.share, r2d2.search(R2D2(), 0).share) == (0.5, 1.0)
    other = r2d2.search(R2D2(), 0)
    assert (other.positions, other.monotone, other.filter, other.ascii_only) == ("even", False, True, True)


def test_the_floor_is_the_recipes(tmp_path: Path) -> None:
    """Under a floor of 0 no opening is likely enough to be pushed away; under -1000 every one is."""
    found = {}
    for floor in (0.0, -5.0, -1000.0):
        one = training(tmp_path / str(floor), recipe(steps=1, r2d2={"away_floor": floor, "gcg_steps": 0}))
        one.run()
        curves = one.curves()
        found[floor] = curves["away"][0], curves["away_tokens"][0]
    assert found[0.0] == (0, 0)
    assert found[-1000.0][1] == 1
    assert found[-1000.0][0] >= found[-5.0][0] > 0


def test_rows_of_one_micro_step_get_wordings_and_openings_of_their_own() -> None:
    words = tuple(f"No, {i}." for i in range(8))
    behavior = Behavior("b", "ask", tuple(f"Sure {i}" for i in range(8)))
    pool = Pool(R2D2(cases=4, updated=4, reset_share=0, refusals=words), [behavior], 0)
    for _ in range(8):
        assert len({pool.refusal(i) for i in range(16)}) > 3
        assert len({pool.opening(behavior, i) for i in range(16)}) > 3
        pool.end_micro_step()


def test_what_one_draw_gives_says_nothing_of_another() -> None:
    """Refusal and opening of a row, drawn from one generator each time, would always come in the same pairs."""
    words = tuple(f"No, {i}." for i in range(4))
    behavior = Behavior("b", "ask", tuple(f"Sure {i}" for i in range(4)))
    pool = Pool(R2D2(cases=4, updated=4, reset_share=0, refusals=words), [behavior], 0)
    pairs = set()
    for _ in range(60):
        pairs |= {(pool.refusal(i), pool.opening(behavior, i)) for i in range(4)}
        pool.end_micro_step()
    assert len(pairs) > 12


def test_away_and_toward_stand_behind_the_same_text_and_the_toward_answer_is_no_opening(tmp_path: Path) -> None:
    one = begun(tmp_path)
    away, toward = one.attacked_rows()
    openings = {
        tuple(one.tokenizer(t, add_special_tokens=False)["input_ids"]) for t in behaviors()[0].behaviors[0].targets
    }
    assert {row.answer for row in away} <= openings
    assert not {row.answer[:-1] for row in toward} & openings
    for row in (*away, *toward):
        assert row.prompt[-len(one.chat.post_ids) :] == one.chat.post_ids
        assert row.prompt.count(one.tokenizer.bos_token_id) == 1
        assert row.prompt[0] == one.tokenizer.bos_token_id


def test_a_step_lowers_the_loss_that_it_is_of(tmp_path: Path) -> None:
    """A sign error in away or toward would pass every test of the terms alone."""
    one = begun(tmp_path, updated=4, plain=0, gcg_steps=0)
    away, toward = one.attacked_rows()

    def terms(away: list[Row], toward: list[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        rows = joint(None, away, toward, fork=True)
        return r2d2.adversarial_terms(one._logits(one.model, rows), rows, -1000.0)

    def losses() -> tuple[torch.Tensor, torch.Tensor]:
        first, second = terms(away, toward)
        return first.mean(), second.mean()

    optimiser = torch.optim.SGD(one.model.parameters(), lr=0.02)
    for which in (0, 1):
        before = losses()
        optimiser.zero_grad()
        before[which].backward()
        optimiser.step()
        assert losses()[which] < before[which]
    # and what away means: the openings' likelihood falls
    with torch.no_grad():
        start = terms(away[:1], away[:1])[1].mean()
    optimiser.zero_grad()
    losses()[0].backward()
    optimiser.step()
    with torch.no_grad():
        end = terms(away[:1], away[:1])[1].mean()
    assert end > start


def test_the_suffix_that_is_trained_on_is_the_one_that_is_kept(tmp_path: Path) -> None:
    one = begun(tmp_path, plain=0, updated=4, monotone=True)
    away, _ = one.attacked_rows()
    kept = {one.chat.render(f"{case.request} {case.suffix}").ids for case in one.pool.cases}
    assert {row.prompt for row in away} == kept


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_the_attack_is_on_the_model_without_its_dropout(tmp_path: Path, dropout: float) -> None:
    """Attacked twice the same model gives the same, also where training draws a mask."""
    one = training(tmp_path, recipe(r2d2={"plain": 0}), attention_dropout=dropout)
    one.current_gradient_accumulation_steps = 1
    one.model.train()
    before = list(one.pool.cases)
    first = one.attacked_rows()
    one.pool.cases = before
    torch.rand(3)
    assert one.attacked_rows() == first
    assert one.model.training
