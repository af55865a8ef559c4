"""The benchmark of the search on a model that takes no time: same winner, same scores, and it says what it measured."""

from __future__ import annotations

import pytest

from tests.benchmarks import search

pytestmark = pytest.mark.slow


def test_all_ways_find_the_planted_carrier_and_their_scores_agree(planted, tmp_path, capsys):
    model = planted(layer=2, position=-2).folder
    arguments = ["--model", str(model), "--dtype", "float32", "--n-train", "32", "--n-validation", "8"]
    arguments += ["--reference-every", "1", "--reference-scores", str(tmp_path / "kept"), "--exhaustive-every", "2"]
    ((reference, *ours, exhaustive),) = search.main(arguments)
    assert [one.chosen.get("arditi") for one in (reference, *ours)] == [
        "(-2, 2)",
        "(-2, 2)",
        None,
        "(-2, 2)",
        "(-2, 2)",
    ]
    assert [one.chosen.get("cosmic") for one in ours] == [None, "(-2, 2)", "(-2, 2)", "(-2, 2)"]
    assert exhaustive.chosen == {}, "not all were scored"
    for one in ours:
        for other in (reference, exhaustive):
            for score in search.SCORES:
                shared = one.scores[score].keys() & other.scores.get(score, {}).keys()
                assert all(abs(one.scores[score][site] - other.scores[score][site]) < 1e-4 for site in shared)
                assert shared or (other is reference and score.startswith("s_")), (one.name, other.name, score)
    printed = capsys.readouterr().out
    assert "3 positions x 6 layers, 32 + 32 prompts to train, 8 + 8 to validate" in printed
    assert "(kept scores and times)" not in printed
    ((again, *_),) = search.main([*arguments, "--exhaustive-every", "0"])
    assert "(kept scores and times)" in capsys.readouterr().out
    assert (again.seconds, again.scores) == (reference.seconds, reference.scores)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_what_lies_near_the_budget_and_on_both_sides_is_listed(capsys):
    def found(name, **kl):
        return search.Found(name, 1.0, 2, 2, {"kl": {(-1, int(layer[1:])): value for layer, value in kl.items()}}, {})

    search.print_near_budget([found("one", l3=0.099, l4=0.2, l5=0.01), found("other", l3=0.1001, l4=0.21)])
    printed = capsys.readouterr().out
    assert printed.count("\n") == 3
    assert "(-1, 3): one 0.0990, other 0.1001  (on both sides)" in printed


def test_the_largest_difference_is_found_among_what_both_report():
    assert (
        search.difference({(-1, 2): 1.0, (-2, 3): 5.0}, {(-1, 2): 1.5, (-2, 3): 5.1, (-3, 1): 99.0})
        == "5.0e-01 (-1,2) n=2"
    )
    assert search.difference({(-1, 2): 1.0}, {}) == "-"
