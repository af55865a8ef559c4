"""Chat rendering: from an instruction to token ids, with the position where the instruction ends.

`t_inst` is the last token of the instruction; the *post-instruction tokens* behind it are the template's, the same
for every prompt, and are counted from the end (−1 is the last token of the rendered prompt). Directions are read there
(Arditi et al. 2024; Zhao et al. 2025 for `t_inst`).
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geoaudit.errors import RequestError
from geoaudit.model.framing import Framing

MOST_KNOWN = 4096
"""Prompts whose rendering is remembered: more than an audit asks, few enough for an attack that tries many."""

_PROBES = tuple(
    f"Tell me about kittens{ending}" for ending in ("", *string.punctuation, "1", "é", "猫", "...", '."', ".)")
)
"""Instructions with every ending that is likely to be drawn into the template's first token."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """One prompt as the model sees it."""

    ids: tuple[int, ...]
    """Token ids, with what begins a text (BOS) exactly as the format wants it; no padding."""
    t_inst: int
    """Index in `ids` of the last token that holds a character of the instruction."""
    text: str
    """The rendered text, without a prefill."""
    prefill: str = ""
    """What the answer begins with before the model adds to it: a thinking block that the prompt leaves open, and the
    text of the prefilled tokens."""
    n_prefill: int = 0
    """Prefilled tokens at the end of `ids`; the post-instruction tokens stand before them."""


class Chat:
    """How instructions become prompts for one tokenizer, template and system prompt.

    The tokenizer's own template is used unless one is named. Unless thinking is asked for it is switched off
    (`enable_thinking=False`), and a thinking block that stays open is closed. A template that asks for today's date
    gets 26 July 2024. Token ids are those of `tokenizer.apply_chat_template`: special tokens written in an instruction
    become special tokens, as in the deployments that use it, and BOS appears once, where the template puts it. The
    formats named `zephyr` and `chatml` begin with BOS where the tokenizer begins a plain text with it.

    Args:
        tokenizer: a fast tokenizer (offsets are needed to find the end of the instruction).
        template: `zephyr`, `chatml`, `none` (the bare instruction, no turn and no post-instruction tokens), the text of
            a Jinja template, or None for the tokenizer's own.
        system: a system prompt to audit under; None leaves it to the template, which may bring its own. An empty one
            means none at all: the prompt is the shorter one of the template's rendering without a system message and
            with an empty one. Templates that bring no system prompt, or take none, render as for None; those that put
            their own where no message is given (SmolLM2, Qwen2) get the empty message, which most of them show as a
            system turn without text. What a template writes into every system turn (Llama 3.1's date) stays.
        thinking: switch thinking on (`enable_thinking=True`) and leave a block that the template opens open.

    Raises:
        MissingTemplate: the tokenizer has no template and none was named.
        RequestError: a slow tokenizer; a template that does not render, hides the instruction, has no place for the
            system prompt that was asked for, or puts its own in the place of an empty one (SmolLM3).
    """

    def __init__(
        self, tokenizer: Any, template: str | None = None, system: str | None = None, *, thinking: bool = False
    ) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise RequestError(
                f"the tokenizer is a {type(tokenizer).__name__}, which does not report character offsets, so the end "
                "of the instruction cannot be found; provide the fast version (a tokenizer.json beside the weights)"
            )
        self.tokenizer = tokenizer
        self.system = system
        self.thinking = thinking
        self._frame = Framing(tokenizer, template, system, thinking=thinking)
        self.n_post = 0
        """Number of post-instruction tokens. Where the instruction's last character can merge with the template's
        first one, only the tokens that stay the same whatever the instruction ends with are counted."""
        self.post_ids: tuple[int, ...] = ()
        """Their ids."""
        self._known: dict[str, Rendered] = {}
        """Prompts without a prefill that were rendered before: needs and checkpoints ask for the same ones."""
        self.n_post, self.post_ids = self._post_instruction()
        self._known.clear()  # rendered before the post-instruction tokens were known

    # --- what the record shows ---------------------------------------------------------------------------------

    @property
    def rendered_template(self) -> str:
        """A rendered prompt with `{instruction}` in place of the instruction."""
        return f"{self._frame.prefix}{{instruction}}{self._frame.suffix}"

    @property
    def sha256(self) -> str:
        """Hash of `rendered_template`: which format, system prompt and generation prompt the audit ran under."""
        return hashlib.sha256(self.rendered_template.encode()).hexdigest()

    @property
    def positions(self) -> tuple[int, ...]:
        """The positions that directions are read at, −n_post … −1; only −1 (which is `t_inst`) where there are none."""
        return tuple(range(-max(self.n_post, 1), 0))

    @property
    def post_tokens(self) -> list[str]:
        """The post-instruction tokens, readable, in order; a line break is written as an escape."""
        return [self._readable(token) for token in self.post_ids]

    # --- rendering ---------------------------------------------------------------------------------------------

    def render(self, instruction: str, prefill: str = "", k: int = 0) -> Rendered:
        """The prompt for one instruction, which goes into the user's turn as it is.

        Args:
            instruction: the user's turn.
            prefill: an answer whose first `k` tokens are put into the model's mouth (Qi et al. 2025, "Safety alignment
                should be made more than just a few tokens deep").
            k: how many; with 0 the prompt is the same as without `prefill`.

        Returns:
            The prompt. Prefilled tokens are appended to `ids` and move no position: `t_inst` and the post-instruction
            tokens are those of the prompt without them. They are the tokens that the tokenizer gives behind the
            prompt; where it would merge the end of the prompt with the answer's first letters (a format that ends in a
            blank), they are those of the answer by itself, because the prompt's own tokens must stay. Where thinking
            is on, they stand in the open block.

        Raises:
            RequestError: the instruction is empty or blank, the template does not leave it in one piece, or `prefill`
                has fewer than `k` tokens.
        """
        if not instruction.strip():
            raise RequestError(f"the instruction is empty ({instruction!r}): a prompt needs text")
        if k == 0 and instruction in self._known:
            return self._known[instruction]
        prompt = self._prompt(instruction)
        begun = self._begun(prompt, prefill, k)
        rendered = Rendered(
            (*prompt.ids, *begun),
            prompt.t_inst,
            prompt.text,
            self._frame.left_open + self._decoded(begun),
            n_prefill=len(begun),
        )
        if k == 0:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[instruction] = rendered
        return rendered

    def _prompt(self, instruction: str) -> Rendered:
        """The prompt without a prefill."""
        frame = self._frame
        if frame.template is None:
            ids = self.tokenizer(instruction, add_special_tokens=False)["input_ids"]
            if not ids:
                raise RequestError(f"the tokenizer has no token for this instruction: {instruction[:80]!r}")
            t_inst = len(frame.lead) + len(ids) - 1
            return Rendered((*frame.lead, *ids), t_inst=t_inst, text=frame.prefix + instruction)
        text = frame.prompt(instruction)
        start, end = len(frame.prefix), len(text) - len(frame.suffix)
        if start >= end or not (text.startswith(frame.prefix) and text.endswith(frame.suffix)):
            raise RequestError(
                "the chat template renders this instruction in another frame than the others, so the end of the "
                f"instruction cannot be told: {instruction[:80]!r}"
            )
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        # Tokens that hold a character of the instruction. Byte-level tokenizers report a token of blanks as an empty
        # span at its end.
        spans = enumerate(encoding["offset_mapping"])
        inside = [i for i, (a, b) in spans if (a < end and b > start) or (a == b == end)]
        if not inside:
            raise RequestError(f"the tokenizer has no token for this instruction: {instruction[:80]!r}")
        ids = tuple(encoding["input_ids"])
        last = inside[-1]
        if self.n_post and ids[-self.n_post :] == self.post_ids:
            # a template token that takes in the blanks before it is no token of the instruction
            last = min(last, len(ids) - 1 - self.n_post)
        return Rendered(ids, t_inst=last, text=text)

    def answer_ids(self, prompt: Rendered, answer: str) -> tuple[int, ...]:
        """The tokens that the tokenizer gives for an answer behind a rendered prompt.

        Where it would merge the end of the prompt with the answer's first letters (a format that ends in a blank),
        they are those of the answer by itself, because the prompt's own tokens must stay.
        """
        ids: list[int] = self.tokenizer(prompt.text, add_special_tokens=False)["input_ids"]
        both: list[int] = self.tokenizer(prompt.text + answer, add_special_tokens=False)["input_ids"]
        if both[: len(ids)] == ids:
            return tuple(both[len(ids) :])
        return tuple(self.tokenizer(answer, add_special_tokens=False)["input_ids"])

    def behind(self, text: str, more: str) -> tuple[int, ...]:
        """The tokens of `more` behind a rendered text, as those of an answer are found (`answer_ids`)."""
        return self.answer_ids(Rendered((), -1, text), more)

    def conversation(self, messages: Sequence[Mapping[str, str]], *, answering: bool) -> str:
        """Several turns rendered, under this system prompt unless they bring one.

        Args:
            messages: `{"role": "user"|"assistant"|"system", "content": ...}`, in order.
            answering: whether the text goes on to where the next answer begins (a thinking block closed, as in
                `render`), or ends behind the last turn.

        Raises:
            RequestError: the template does not render them, or there is none (`none`).
        """
        if self._frame.template is None:
            raise RequestError("the format 'none' has no turns: name a template that has them")
        return self._frame.conversation(messages, answering=answering)

    @property
    def jinja(self) -> str | None:
        """The template's Jinja text as it is applied; None for the bare instruction."""
        return self._frame.template

    def _begun(self, prompt: Rendered, answer: str, k: int) -> tuple[int, ...]:
        """The first k tokens of an answer to a rendered prompt."""
        if k == 0:
            return ()
        behind = self.answer_ids(prompt, answer)
        if not 0 <= k <= len(behind):
            raise RequestError(
                f"{k} tokens of an answer were to be prefilled and it has {len(behind)}: {answer[:80]!r}; ask for a "
                "smaller k, or leave out the prompts whose targets are shorter"
            )
        return behind[:k]

    def end_of_turn(self) -> int | None:
        """The special token that the template puts behind an assistant's message, or None if it is no single token."""
        tail = self._frame.behind_answer().strip() if self._frame.template is not None else ""
        ids = self.tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
        special = {*self.tokenizer.all_special_ids, *self.tokenizer.added_tokens_decoder}
        return int(ids[0]) if ids and ids[0] in special else None

    def _post_instruction(self) -> tuple[int, tuple[int, ...]]:
        """The template's tokens behind the instruction that no ending of the instruction changes."""
        probes, frame = [self.render(probe) for probe in _PROBES], self._frame
        if frame.template is not None and not frame.closing and frame.prompt_ids(_PROBES[0]) != probes[0].ids:
            raise RequestError(
                f"{type(self.tokenizer).__name__}.apply_chat_template gives other tokens than its own rendered "
                "text: provide a plain fast tokenizer (tokenizer.json)"
            )
        count = min(len(probe.ids) - 1 - probe.t_inst for probe in probes)
        while count and len({probe.ids[-count:] for probe in probes}) > 1:
            count -= 1
        return count, probes[0].ids[len(probes[0].ids) - count :]

    def _decoded(self, ids: tuple[int, ...]) -> str:
        text: str = self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return text

    def _readable(self, token: int) -> str:
        text: str = self.tokenizer.decode([token]).replace("\n", "\\n")
        return text if text.strip() else str(self.tokenizer.convert_ids_to_tokens(token))
