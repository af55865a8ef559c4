"""From conversations to sequences of tokens, rendered as the audit renders them.

Every answer stands behind exactly the tokens that `Chat.render` puts before it, so that what is trained is what is
audited; what is learnt of it are its tokens and the one that ends the turn.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from geoaudit.errors import RequestError
from geoaudit.model.chat import Chat
from geoaudit.training.rows import Example

Messages = Sequence[Mapping[str, str]]
ROLES = ("system", "user", "assistant")
TOGETHER = 512
"""Conversations that are tokenised in one call."""


def answered(chat: Chat, prompt: str, answer: str, *, ended: bool = True, source: int = 0) -> Example:
    """One prompt and its answer.

    Args:
        chat: how it is rendered.
        prompt: the user's turn.
        answer: the assistant's.
        ended: whether the answer ends there; only then the end of the turn is learnt.
        source: which source it comes from.
    """
    before = chat.render(prompt)
    ids = chat.behind(before.text, answer)
    end = end_of_turn(chat)
    ids = (*ids, end) if ended and end is not None else ids
    learnt = (*(False for _ in before.ids), *(True for _ in ids))
    return Example((*before.ids, *ids), learnt, (_sha256(prompt),), source)


def conversation(chat: Chat, messages: Messages, *, source: int = 0) -> Example:
    """A conversation of one or more answers; see `conversations`."""
    (found,) = conversations(chat, [messages], source=source)
    return found


def conversations(chat: Chat, rows: Iterable[Messages], *, source: int = 0) -> Iterator[Example]:
    """Conversations of one or more answers each, in order.

    Args:
        chat: how they are rendered.
        rows: the turns of each; what stands behind its last answer is left out.
        source: which source they come from.

    Raises:
        RequestError: no answer, an answer without text, or a template that renders earlier turns in another way once
            more follow.
    """
    end = end_of_turn(chat)
    rest = iter(rows)
    while some := list(islice(rest, TOGETHER)):
        texts = [_texts(chat, messages) for messages in some]
        # in one call: the tokenizer spreads a batch over the cores
        every = chat.tokenizer([text for one in texts for text in one], add_special_tokens=False)["input_ids"]
        tokens = iter(every)
        for messages, one in zip(some, texts, strict=True):
            ids, learnt = _joined(chat, one, [tuple(next(tokens)) for _ in one], end)
            prompts = tuple(_sha256(turn["content"]) for turn in messages if turn["role"] == "user")
            yield Example(ids, learnt, prompts, source)


def _texts(chat: Chat, messages: Messages) -> list[str]:
    """The rendered text up to the beginning and up to the end of each answer, in turns."""
    texts: list[str] = []
    for place, turn in enumerate(messages):
        if turn["role"] != "assistant":
            continue
        before = chat.conversation(messages[:place], answering=True)
        if texts and not before.startswith(texts[-1]):
            raise RequestError(
                "the chat template renders an earlier turn in another way once more follow: train on single turns"
            )
        answer = turn["content"].strip()
        if not answer:
            raise RequestError("a conversation has an answer without text")
        texts += [before, before + answer]
    if not texts:
        raise RequestError("a conversation has no answer: no turn of role 'assistant'")
    return texts


def _joined(
    chat: Chat, texts: Sequence[str], tokens: Sequence[tuple[int, ...]], end: int | None
) -> tuple[tuple[int, ...], tuple[bool, ...]]:
    """Token ids of a conversation, and which are learnt: each part's tokens behind those of what stands before it.

    Args:
        chat: whose tokenizer made the tokens.
        texts: of `_texts`.
        tokens: of each text.
        end: the token that ends a turn.
    """
    ids, learnt = tokens[0], (False,) * len(tokens[0])
    for place in range(1, len(texts)):
        before, whole = tokens[place - 1], tokens[place]
        if whole[: len(before)] == before:
            part = whole[len(before) :]
        else:  # as `Chat.answer_ids` does: what was rendered keeps its tokens
            alone = texts[place][len(texts[place - 1]) :]
            part = tuple(chat.tokenizer(alone, add_special_tokens=False)["input_ids"])
        answer = place % 2 == 1
        # behind an answer the template ends the turn: that token is learnt, what follows is not
        learnt += tuple(answer or (i == 0 and part[0] == end) for i in range(len(part)))
        ids += part
    return (ids, learnt) if end is None else ((*ids, end), (*learnt, True))


def cut(example: Example, length: int, *, everything: bool) -> Example | None:
    """At most `length` tokens of an example, and what of them is learnt; None where nothing is left to learn.

    Args:
        example: as rendered.
        length: where it is cut.
        everything: whether every token is learnt but the first, not only the answers'.
    """
    ids = example.ids[:length]
    learnt = (False, *(everything or one for one in example.learnt[1:length]))
    return Example(ids, learnt, example.prompts, example.source) if any(learnt) else None


def end_of_turn(chat: Chat) -> int | None:
    """The token that an answer ends with: the template's, else the tokenizer's end of text."""
    own = chat.end_of_turn()
    return own if own is not None else chat.tokenizer.eos_token_id


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
