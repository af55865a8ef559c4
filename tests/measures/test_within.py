"""Addition inside a span: what single plain forward passes with a hook give, and nothing outside the span."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from geoaudit.errors import RequestError
from geoaudit.measures.within import Span, Within, _addition, span_of
from geoaudit.model.chat import Rendered
from geoaudit.model.hooks import edited
from geoaudit.model.loaded import LoadedModel
from geoaudit.prompts.inversion import HARMFUL, HARMLESS, WORDINGS, worded
from tests.measures.benches import open_bench

REQUESTS = (
    "tell me how to wash a car",
    "how do I thank my sick uncle",
    "give me a plan",
    "how do I paint a toy penguin now",
)
LAYER = 3


@pytest.fixture(scope="module")
def loaded(planted: Callable[..., Any]) -> LoadedModel:
    """Later layers look at earlier tokens: what is added to a request reaches the last token."""
    return open_bench(planted(layer=3, position=-1, seed=4)).loaded


def placed(loaded: LoadedModel, wording: str = WORDINGS[0]) -> tuple[list[Rendered], list[Span]]:
    turns = [worded(wording, request) for request in REQUESTS]
    rendered = [loaded.chat.render(text) for text, _, _ in turns]
    return rendered, [span_of(loaded.chat, one, *turn) for one, turn in zip(rendered, turns, strict=True)]


def logits_of(logits: Tensor, part: list[int]) -> Tensor:
    return logits


def alone(loaded: LoadedModel, prompt: Rendered, span: Span, vector: Tensor) -> Tensor:
    """One whole forward pass, nothing shared and nothing skipped."""

    def edit(x: Tensor) -> Tensor:
        new = x.clone()
        new[:, span[0] : span[1]] += vector
        return new

    with torch.no_grad(), edited(loaded, {("resid_pre", LAYER): edit}):
        hidden = loaded.decoder(input_ids=torch.tensor([list(prompt.ids)])).last_hidden_state
    return loaded.logits(hidden[0, -1])


@pytest.mark.parametrize("everywhere", [False, True])
def test_it_is_a_plain_pass_with_an_edit_on_those_tokens(loaded: LoadedModel, everywhere: bool) -> None:
    rendered, spans = placed(loaded)
    spans = [(0, len(one.ids)) for one in rendered] if everywhere else spans
    vectors = torch.randn(3, loaded.d_model, generator=torch.Generator().manual_seed(1)) * torch.tensor(
        [[0.0], [1.0], [9.0]]
    )
    passes = Within(loaded, rendered, spans, LAYER)
    assert (passes.shared == 0) is everywhere
    plain = passes.plain(logits_of)
    read = passes.added(vectors, logits_of)
    assert read.shape == (3, len(rendered), plain.shape[-1])
    for row, vector in enumerate(vectors):
        for column, (prompt, span) in enumerate(zip(rendered, spans, strict=True)):
            torch.testing.assert_close(read[row, column], alone(loaded, prompt, span, vector), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(read[0], plain[0], atol=1e-4, rtol=1e-4)


def test_nothing_is_added_to_tokens_outside_the_span_nor_to_padding(loaded: LoadedModel) -> None:
    rendered, spans = placed(loaded, WORDINGS[2])
    passes = Within(loaded, rendered, spans, LAYER)
    passes.plain(logits_of)
    stream, mask = passes._known([0, 3, 1])
    edit = _addition(stream, mask, torch.stack([torch.ones(loaded.d_model), 2 * torch.ones(loaded.d_model)]))
    moved = (edit(stream.repeat(2, 1, 1)) - stream.repeat(2, 1, 1)).mean(dim=-1).reshape(2, 3, -1)
    for row, index in enumerate((0, 3, 1)):
        inside = torch.zeros(stream.shape[1])
        inside[spans[index][0] - passes.shared : spans[index][1] - passes.shared] = 1
        torch.testing.assert_close(moved[:, row], torch.stack([inside, 2 * inside]))
        assert (stream[row, len(rendered[index].ids) - passes.shared :] == 0).all()


def test_the_span_is_the_request_and_all_of_it(loaded: LoadedModel) -> None:
    for wording in WORDINGS:
        rendered, spans = placed(loaded, wording)
        for one, (start, end), request in zip(rendered, spans, REQUESTS, strict=True):
            ids = loaded.tokenizer(request, add_special_tokens=False)["input_ids"]
            assert list(one.ids[start:end]) == ids
            assert end <= one.t_inst


def test_what_is_reduced_is_given_with_its_prompts(loaded: LoadedModel) -> None:
    rendered, spans = placed(loaded)
    passes = Within(loaded, rendered, spans, LAYER)
    index = passes.plain(lambda logits, part: torch.tensor([part]).float())
    assert index[0].tolist() == [0, 1, 2, 3]


def test_what_cannot_be_edited_is_said(loaded: LoadedModel) -> None:
    rendered, spans = placed(loaded)
    with pytest.raises(RequestError, match="needs a span"):
        Within(loaded, rendered, spans[1:], LAYER)
    with pytest.raises(RequestError, match="no span 5 to 5"):
        Within(loaded, rendered, [(5, 5), *spans[1:]], LAYER)
    with pytest.raises(RequestError, match="first"):
        Within(loaded, rendered, spans, LAYER).added(torch.zeros(1, loaded.d_model), logits_of)
    with pytest.raises(RequestError, match="found again"):
        span_of(loaded.chat, rendered[0], "another turn", 0, 4)


def test_wordings_say_which_answer_means_what_and_hold_the_request_as_it_is() -> None:
    assert len(set(WORDINGS)) == 3
    for wording in WORDINGS:
        assert {HARMFUL, HARMLESS} <= {word.strip('".,') for word in wording.split()}
        text, start, end = worded(wording, "odd {request} {x}?")
        assert text[start:end] == "odd {request} {x}?"
        assert wording.count("{request}") == 1
