"""What a chat template puts around an instruction, found by rendering sentinels in its place.

A template is foreign code: it may hide the instruction, bring a system prompt of its own, leave a thinking block open,
or want content in a list of parts. All of that is found out here, once for a tokenizer, template and system prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from geoaudit.errors import MissingTemplate, RequestError, UnknownName
from geoaudit.model import thinking as thoughts
from geoaudit.model.formats import TEMPLATES, dated

_HOW_TO_NAME = "--geoaudit-template FILE|zephyr|chatml|none"
_SENTINEL = "geoauditinstruction"  # letters only: no template trims or escapes them
_SYSTEM_SENTINEL = "geoauditsystem"


class Framing:
    """A template as it is applied for one tokenizer, under one system prompt; the arguments are those of `Chat`."""

    def __init__(self, tokenizer: Any, template: str | None, system: str | None, *, thinking: bool) -> None:
        self.tokenizer = tokenizer
        self.system = system
        self.thinking = thinking
        self._message = system or None
        """Content of the system message; None for no such message."""
        self.lead = _leading_tokens(tokenizer)
        """What the tokenizer puts before a plain text by itself."""
        self.template = self._source(template)
        """Jinja text; None for the bare instruction."""
        self._parts = False
        """Whether the template wants content in a list of parts, as those of multimodal models do."""
        self.closing = ""
        """What closes a thinking block that the template leaves open; counted to `suffix`."""
        self.left_open = ""
        """The thinking block that stays open behind the prompt."""
        self.prefix, self.suffix = self._frame()

    def prompt(self, instruction: str) -> str:
        """A request rendered up to where the answer begins."""
        return self._apply(self._messages(instruction)) + self.closing

    def prompt_ids(self, instruction: str) -> tuple[int, ...]:
        """The tokens that the tokenizer's own method gives for a request."""
        own = self.tokenizer.apply_chat_template(
            self._messages(instruction), return_dict=False, **self._options(add_generation_prompt=True)
        )
        return tuple(own)

    def conversation(self, messages: Sequence[Mapping[str, str]], *, answering: bool) -> str:
        """Several turns rendered, as `Chat.conversation` has them."""
        own = self._messages("")[:-1] if messages and messages[0]["role"] != "system" else []
        turns = [*own, *({**turn, "content": self._content(turn["content"])} for turn in messages)]
        return self._apply(turns, add_generation_prompt=answering) + (self.closing if answering else "")

    def behind_answer(self) -> str:
        """What the template puts behind an assistant's message; empty where it is for prompts only."""
        answer = f"{_SENTINEL}answer"
        messages = [*self._messages(_SENTINEL), {"role": "assistant", "content": self._content(answer)}]
        try:
            text = self._apply(messages, add_generation_prompt=False)
        except RequestError:
            return ""
        _, found, tail = text.rpartition(answer)
        return tail if found else ""

    # --- how it is found ---------------------------------------------------------------------------------------

    def _source(self, template: str | None) -> str | None:
        """The template's Jinja text, or None for the bare instruction."""
        if template == "none":
            if self.system:
                raise RequestError("the format 'none' has no place for a system prompt: name a template that has one")
            return None
        if template in TEMPLATES:
            begins_with_bos = self.tokenizer.bos_token_id is not None and self.tokenizer.bos_token_id in self.lead
            return ("{{ bos_token }}" if begins_with_bos else "") + TEMPLATES[template]
        if template is None:
            if self.tokenizer.chat_template is None:
                raise MissingTemplate(f"the tokenizer has no chat template: name one with {_HOW_TO_NAME}")
            try:
                source: str = self.tokenizer.get_chat_template()
            except ValueError as error:  # several named templates, none of them the default
                raise MissingTemplate(f"{error} Name one with {_HOW_TO_NAME}") from error
        elif "{{" in template or "{%" in template:
            source = template
        else:
            raise UnknownName.among("chat template", template, [*TEMPLATES, "none"])
        return dated(source)

    def _frame(self) -> tuple[str, str]:
        """The rendered text before and behind the instruction; decides how the template wants its content."""
        if self.template is None:
            return self.tokenizer.decode(self.lead), ""
        text = self._sentinel_text()
        if text.count(_SENTINEL) != 1:
            raise RequestError(
                f"the chat template shows the instruction {text.count(_SENTINEL)} times instead of once: "
                f"name another with {_HOW_TO_NAME}"
            )
        if self.system == "":
            text = self._without_system(text)
        elif self.system is not None and self.system.strip() not in text:
            raise RequestError(
                "the chat template leaves the system prompt out, so the audit would not run under it: "
                f"drop --geoaudit-system or name another template with {_HOW_TO_NAME}"
            )
        prefix, _, suffix = text.partition(_SENTINEL)
        if self.thinking:
            self.left_open = thoughts.left_open(suffix)
        else:
            self.closing = thoughts.closing(suffix, self.template)
        return prefix, suffix + self.closing

    def _sentinel_text(self) -> str:
        """The sentinel rendered; templates of multimodal models want it in a list of parts."""
        try:
            text = self._apply(self._messages(_SENTINEL))
            failed = None
        except RequestError as error:
            text, failed = "", error
        if _SENTINEL in text:
            return text
        self._parts = True
        try:
            in_parts = self._apply(self._messages(_SENTINEL))
        except RequestError:
            in_parts = ""
        if _SENTINEL in in_parts:
            return in_parts
        if failed is not None:
            raise failed
        return text

    def _without_system(self, plain: str) -> str:
        """The sentinel under no system prompt; decides whether an empty system message has to be given for that.

        Args:
            plain: the sentinel rendered without a system message, perhaps under the template's own prompt.
        """
        named = self._under(_SYSTEM_SENTINEL)
        if named is None or _SYSTEM_SENTINEL not in named:  # takes no system message, so None is all there is
            return plain
        empty = self._under("")
        if empty is not None and len(empty) < len(plain):
            self._message, plain = "", empty
        if len(plain) > len(named.replace(_SYSTEM_SENTINEL, "")):
            raise RequestError(
                "the chat template puts a system prompt of its own where none is given, even for an empty one, so the "
                "audit would not run without: give a system prompt, or name another template with "
                f"{_HOW_TO_NAME}"
            )
        return plain

    def _under(self, message: str) -> str | None:
        """The sentinel rendered under a system message, or None where the template takes none."""
        self._message = message
        try:
            return self._apply(self._messages(_SENTINEL))
        except RequestError:
            return None
        finally:
            self._message = None

    # --- how it is applied -------------------------------------------------------------------------------------

    def _content(self, text: str) -> Any:
        return [{"type": "text", "text": text}] if self._parts else text

    def _messages(self, instruction: str) -> list[dict[str, Any]]:
        given = self._message
        system = [{"role": "system", "content": self._content(given)}] if given is not None else []
        return [*system, {"role": "user", "content": self._content(instruction)}]

    def _options(self, *, add_generation_prompt: bool) -> dict[str, Any]:
        return {
            "chat_template": self.template,
            "add_generation_prompt": add_generation_prompt,
            "enable_thinking": self.thinking,  # Qwen3, SmolLM3
            "thinking": self.thinking,  # DeepSeek V3.1, Granite
        }

    def _apply(self, messages: list[dict[str, Any]], *, add_generation_prompt: bool = True) -> str:
        options = self._options(add_generation_prompt=add_generation_prompt)
        try:
            text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, **options)
        except Exception as error:  # a template is foreign code: it may raise anything
            where = " with a system prompt (drop --geoaudit-system if it takes none)" if self.system else ""
            raise RequestError(
                f"the chat template does not render{where}: {type(error).__name__}: {error}. "
                f"Name another with {_HOW_TO_NAME}"
            ) from error
        return text


def _leading_tokens(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a plain text by itself: mostly BOS or nothing."""
    with_special: list[int] = tokenizer("a")["input_ids"]
    plain: list[int] = tokenizer("a", add_special_tokens=False)["input_ids"]
    for start in range(len(with_special) - len(plain) + 1):
        if with_special[start : start + len(plain)] == plain:
            return tuple(with_special[:start])
    return ()
