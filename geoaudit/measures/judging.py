"""What a judge says of completions. A function of a bench and a need; each judgement is a row of the bench's store."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from geoaudit import judges
from geoaudit.errors import BrokenCheckpoint, NothingToMeasure
from geoaudit.judges.text import without_thoughts
from geoaudit.measures.fulfilled import CompletedPrompts, EditedPrompts, JudgedPrompts
from geoaudit.measures.needs import Judged
from geoaudit.records import Judgement, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench

JUDGED_AT_ONCE = 32
"""Exchanges that a slow judge reads before its judgements are stored."""


def judged(bench: Bench, need: Judged) -> JudgedPrompts:
    """Judgements through the store, each exchange once; what a judge could not answer is asked again next time.

    Raises:
        NothingToMeasure: the judge's own weights are broken.
    """
    completed: CompletedPrompts | EditedPrompts = bench.fulfil(need.completions)
    judge = judges.get(need.judge, bench.judging)
    judge_id = judge.id
    if judges.info(need.judge).kind == "offline":
        return JudgedPrompts(tuple(judge(completed.exchanges)), judge_id)
    exchanges = [  # a thought is no part of the answer; one that was cut off leaves none
        replace(exchange, completion=without_thoughts(exchange.completion) or "") for exchange in completed.exchanges
    ]
    server = bench.judging.endpoint.url if bench.judging.endpoint and need.judge in judges.ENDPOINTS else ""
    keys = [digest(["judgement", judge_id, digest(server), asdict(exchange)]) for exchange in exchanges]
    stored: dict[str, Any] = {key: bench.get_row(key) for key in dict.fromkeys(keys)}
    missing = {key: exchange for key, exchange in zip(keys, exchanges, strict=True) if stored[key] is None}
    if missing and judges.info(need.judge).kind == "model":
        bench.release()
        bench.make_room()
    try:
        asked = list(missing.items())
        for start in range(0, len(asked), JUDGED_AT_ONCE):  # what is judged is kept, whatever happens next
            part = asked[start : start + JUDGED_AT_ONCE]
            for (key, _), judgement in zip(part, judge([exchange for _, exchange in part]), strict=True):
                stored[key] = asdict(judgement)
                if judgement.label != "unjudged":
                    bench.rows.put(key, stored[key])
            bench.progress(start + len(part), len(asked))
    except BrokenCheckpoint as error:  # the judge's weights and not the audited ones
        raise NothingToMeasure(f"the judge {need.judge} cannot judge: {error}") from error
    finally:
        if hasattr(judge, "close"):
            judge.close()
    judgements = tuple(Judgement(**stored[key]) for key in keys)
    if any(one.label == "unjudged" for one in judgements):
        bench.unjudged.add(need)
    return JudgedPrompts(judgements, judge_id, tuple(getattr(judge, "caveats", ())))
