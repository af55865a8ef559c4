"""What a model answers: completions of a source's prompts under an attack. A function of a bench and a need.

Every batch is a row of the bench's store, so that what is done is kept whenever the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from geoaudit.attacks.cases import Cases
from geoaudit.attacks.make import cases
from geoaudit.attacks.stored import cases_sha256
from geoaudit.errors import NothingToMeasure, RequestError
from geoaudit.measures.fulfilled import CompletedPrompts, texts_key
from geoaudit.measures.inputs import ChatSetting
from geoaudit.measures.needs import Completions
from geoaudit.model.batches import plan
from geoaudit.records import Completion, PromptSet, digest

if TYPE_CHECKING:
    from geoaudit.measures.bench import Bench
    from geoaudit.model.chat import Rendered


def completions(bench: Bench, need: Completions) -> CompletedPrompts:
    """What the model says to each case that the attack makes of the prompts.

    Raises:
        NothingToMeasure: no case is about a prompt of the source.
    """
    prompts = bench.prompts(need.source).first(need.n)
    made = _cases(bench, need, prompts)
    if not made.cases:
        raise NothingToMeasure(
            f"no stored attack is for a behaviour of {prompts.name!r} ({_listed(made.skipped)}); name the source "
            "that the attacks were made for (source: jailbreakbench, say)"
        )
    # an attack file, or the checkpoint that text was optimised against, counts by its cases and not by its name
    attack = replace(need.attack, file="", initial="", checkpoint="")
    asked = [asdict(attack), asdict(need.chat), cases_sha256(made.cases)]
    key = bench.key("completed", need.max_new_tokens, prompts.sha256, *asked)
    try:
        chat = bench.chat_under(_under(need))
    except RequestError as error:
        if need.attack.system is None:
            raise
        # a template that insists on its own system prompt, or has no place for one: this attack cannot be made
        return CompletedPrompts(prompts, (), (), key, skipped={str(error): len(prompts)})
    rendered = [chat.render(case.text, case.prefill, need.attack.k) for case in made.cases]
    seeds = [case.seed for case in made.cases]

    def row_of(batch: Sequence[int], ids: list[list[int]]) -> str:
        drawn = [need.attack.temperature, [seeds[index] for index in batch]] if need.attack.temperature else []
        return bench.key("completions", need.max_new_tokens, ids, *drawn)

    done, sizes = in_batches(
        bench,
        rendered,
        need.max_new_tokens,
        row_of=row_of,
        make=lambda batch, part: _generate(bench, part, need, [seeds[index] for index in batch]),
        progress=lambda count: bench.progress(count, len(rendered)),
    )
    completed = CompletedPrompts(
        prompts,
        made.cases,
        tuple(Completion(case.id, *row) for case, row in zip(made.cases, done, strict=True)),
        key,
        tuple(one.prefill for one in rendered),
        made.skipped,
        sizes,
        digest([[list(one.ids) for one in rendered], seeds]),
    )
    keep_texts(bench, completed)
    return completed


def in_batches(
    bench: Bench,
    rendered: Sequence[Rendered],
    max_new_tokens: int,
    *,
    row_of: Callable[[Sequence[int], list[list[int]]], str],
    make: Callable[[Sequence[int], list[Rendered]], dict[str, Any]],
    progress: Callable[[int], None],
) -> tuple[list[list[Any]], tuple[int, ...]]:
    """Completions through the store, batch by batch.

    A whole batch is one row: greedy text in bf16 depends on its neighbours, so a batch is never completed in part, and
    an interrupted one is redone whole.

    Args:
        bench: whose batches and rows.
        rendered: n prompts.
        max_new_tokens: of each completion.
        row_of: the key of a batch, from the places of its prompts and their token ids.
        make: what `written` gives, for the same places and their prompts.
        progress: called with the prompts done.

    Returns:
        [n] text, tokens, whether it stopped and first token, in the order of the prompts; and the sizes of the batches
        that were made.
    """
    done: dict[int, list[Any]] = {}
    sizes: list[int] = []
    for batch in plan(
        [len(one.ids) for one in rendered],
        max_new_tokens,
        rows=bench.contract.generation_batch,
        tokens=bench.contract.generation_tokens,
    ):
        part = [rendered[index] for index in batch]
        row = row_of(batch, [list(one.ids) for one in part])
        stored = bench.get_row(row)
        if stored is None:
            stored = make(batch, part)
            bench.rows.put(row, stored)
        done |= dict(zip(batch, stored["rows"], strict=True))
        sizes += stored["batches"]
        progress(len(done))
    return [done[index] for index in range(len(rendered))], tuple(sizes)


def written(bench: Bench, rendered: list[Rendered], **how: Any) -> dict[str, Any]:
    """A batch as its row holds it, generated by the bench's model; `how` goes to `complete_halving`."""
    from geoaudit.model.generate import complete_halving

    made, sizes = complete_halving(bench.loaded, rendered, [str(i) for i in range(len(rendered))], **how)
    rows = [[one.text, one.n_tokens, one.stopped, one.first_token] for one in made]
    return {"rows": rows, "batches": list(sizes)}


def keep_texts(bench: Bench, completed: CompletedPrompts) -> None:
    """Keep what was asked and answered for people who label: a record holds no text."""
    texts = texts_key(completed.key)
    if bench.rows.get(texts) is None:
        bench.rows.put(texts, [asdict(exchange) for exchange in completed.exchanges])


def _cases(bench: Bench, need: Completions, prompts: PromptSet) -> Cases:
    """What is put to the model; of an adaptive attack what was optimised, here or on another checkpoint."""
    if need.optimised is None:
        return cases(need.attack, prompts, bench.data)
    found: Cases = bench.fulfil(need.optimised).cases
    return found


def _generate(bench: Bench, rendered: list[Rendered], need: Completions, seeds: list[int | None]) -> dict[str, Any]:
    return written(
        bench, rendered, max_new_tokens=need.max_new_tokens, temperature=need.attack.temperature, seeds=seeds
    )


def _under(need: Completions) -> ChatSetting:
    """The setting of a need, under its attack's system prompt where it has one."""
    return need.chat if need.attack.system is None else replace(need.chat, system=need.attack.system)


def _listed(skipped: Mapping[str, int]) -> str:
    return ", ".join(f"{n} {reason}" for reason, n in skipped.items())
