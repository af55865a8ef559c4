"""Judges that are no rules: each exchange is read once, and what was said is kept whatever happens next."""

from __future__ import annotations

import pytest

from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.measures.inputs import Source
from geoaudit.measures.needs import Completions, Judged
from geoaudit.records import Judgement
from tests.measures.benches import MemoryRows, never, open_bench


class Slow:
    """A judge that counts what it is asked."""

    id = "slow 1"
    caveats = ("made up",)

    def __init__(self, say=lambda number: "not_harmful", fails=None):
        self.say, self.fails, self.asked, self.closed = say, fails, [], 0

    def __call__(self, exchanges, progress=None):
        if self.fails is not None and len(self.asked) >= self.fails:
            raise BrokenCheckpoint("its weights are NaN")
        first = len(self.asked)
        self.asked += exchanges
        return [Judgement(self.say(first + i), None, "harmbench", "") for i in range(len(exchanges))]

    def close(self):
        self.closed += 1


@pytest.fixture
def judged(planted, monkeypatch):
    """(a judge, rows) -> what a bench makes of it."""

    def run(judge, rows, n=40, **more):
        monkeypatch.setattr("geoaudit.judges.get", lambda name, setup=None: judge)
        bench = open_bench(planted(), rows, **more)
        return bench, bench.fulfil(Judged(Completions(Source("harmful"), n, 3), "harmbench"))

    return run


def test_a_judgement_is_made_once_and_the_model_is_let_go_first(judged):
    rows, judge = MemoryRows(), Slow()
    bench, found = judged(judge, rows)
    assert {one.label for one in found.judgements} == {"not_harmful"}
    assert (found.judge_id, found.caveats) == ("slow 1", ("made up",))
    assert len(judge.asked) == 40
    assert "loaded" not in vars(bench), "two models at a time need the memory of two"
    assert judge.closed == 1
    again = Slow()
    assert judged(again, rows.again(), open_model=never)[1] == found
    assert again.asked == []


def test_what_the_judge_could_not_answer_is_asked_again(judged):
    rows = MemoryRows()
    judged(Slow(lambda number: "unjudged" if number in (3, 35) else "harmful"), rows)
    again = Slow(lambda number: "not_harmful")
    _, found = judged(again, rows.again(), open_model=never)
    assert len(again.asked) == 2
    assert [one.label for one in found.judgements].count("not_harmful") == 2


def test_a_judge_that_breaks_is_not_a_broken_checkpoint_and_what_it_said_is_kept(judged):
    rows = MemoryRows()
    with pytest.raises(NothingToMeasure, match="the judge harmbench cannot judge: its weights are NaN") as raised:
        judged(Slow(fails=32), rows)
    assert not isinstance(raised.value, BrokenCheckpoint), "the audited weights are another matter"
    again = Slow()
    judged(again, rows.again(), open_model=never)
    assert len(again.asked) == 8, "the first 32 were stored"
