"""The shipped recipes of R2D2 say what they claim to say."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoaudit.training.r2d2_settings import R2D2, REFUSALS
from geoaudit.training.recipe import read

FOLDER = Path(__file__).parents[2] / "examples" / "recipes"


def test_the_laptops_recipe_attacks_a_little():
    one = read(FOLDER / "smollm2-cpu-r2d2.yaml")
    assert (one.recipe, one.base) == ("r2d2", "smollm2-135m")
    assert (one.r2d2.updated, one.r2d2.gcg_steps, one.r2d2.width) == (2, 2, 16)
    assert one.r2d2.plain == 0, "as published"
    assert one.r2d2.behaviors == ("tune-harmful",), "nothing that an audit scores, and nothing to fetch"
    assert len(one.r2d2.refusals) > 1
    assert one.saved[0] >= 10
    assert one.accumulation(1) == 1


def test_the_papers_recipe_has_the_papers_numbers():
    one = read(FOLDER / "mistral-7b-paper-r2d2.yaml")
    assert (one.adapter.rank, one.adapter.alpha, one.adapter.dropout) == (64, 16, 0.1)
    assert (one.steps, one.learning_rate, one.schedule, one.warmup_steps) == (500, 2e-5, "cosine", 0)
    assert (one.max_length, one.packing, one.loss) == (2048, True, "all")
    assert (one.batch, one.accumulation(4), one.sequences) == (64, 16, 1)
    assert one.saved == tuple(range(5, 501, 5))
    assert one.reference == 30
    assert one.r2d2 == R2D2(preset="paper")
    assert (one.r2d2.cases, one.r2d2.updated, one.r2d2.gcg_steps, one.r2d2.width) == (180, 8, 5, 512)
    assert one.r2d2.updated % 4 == 0, "divides among its processes"


def test_the_harmbench_recipe_has_harmbenchs_numbers():
    one = read(FOLDER / "mistral-7b-harmbench.yaml")
    assert one.adapter is None, "all weights"
    assert (one.batch, one.accumulation(8), one.sequences, one.max_length) == (256, 4, 8, 2048)
    assert (one.learning_rate, one.schedule, one.warmup_steps, one.seed) == (2e-5, "cosine", 0, 42)
    assert one.r2d2 == R2D2(preset="harmbench")
    assert one.r2d2.refusals == REFUSALS[:1]
    assert 500 in one.saved, "2000 micro-steps at 4 a step"
    assert one.r2d2.updated % 8 == 0


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        ("widht: 16", r"broken\.yaml:6:3: unknown key 'widht' in r2d2 \(did you mean 'width'\?\)"),
        ("preset: papr", r"broken\.yaml:6:11: unknown preset 'papr' \(did you mean 'paper'\?\)"),
        ("behaviors: [harmbench-vall]", r"broken\.yaml:6:.*did you mean 'harmbench-val'"),
        ("cases: 4", r"broken\.yaml:6:3: updated \(8\) is more than there are cases \(4\)"),
        ("away_weight: .nan", r"broken\.yaml:6:16: "),
        ("width: 1e3", r"broken\.yaml:6:10: "),
    ],
)
def test_a_wrong_word_is_found_by_its_place(tmp_path, broken, said):
    path = tmp_path / "broken.yaml"
    path.write_text(f"recipe: r2d2\nbase: smollm2-135m\ndata:\n  - {{answers: tune-harmless}}\nr2d2:\n  {broken}\n")
    with pytest.raises(Exception, match=said):
        read(path)
