"""What a template puts around an instruction: formats by name, system prompts, thinking blocks, unusable ones."""

from __future__ import annotations

import datetime

import pytest

from geoaudit.errors import MissingTemplate, RequestError, UnknownName
from geoaudit.model.chat import Chat
from tests.model.chat_formats import (
    ALWAYS_THINKS,
    CHATML,
    FORMATS,
    GEMMA,
    LLAMA3,
    MISTRAL,
    PARTS,
    QWEN3,
    WITH_DEFAULT_SYSTEM,
    byte_chat,
    byte_level,
    decoded,
)
from tests.model.families import TOKENS
from tests.model.planted import word_tokenizer


def test_the_template_decides_whether_there_is_a_bos():
    assert 0 not in Chat(byte_level(CHATML, bos=True)).render("kittens").ids


@pytest.mark.parametrize("name", ["zephyr", "chatml"])
def test_a_named_format_begins_with_bos_where_plain_text_does(name):
    assert Chat(byte_level(bos=True), name).render("kittens").ids.count(0) == 1
    assert 0 not in Chat(byte_level(), name).render("kittens").ids


def test_named_formats():
    assert Chat(byte_level(), "zephyr").rendered_template == "<|user|>\n{instruction}</s>\n<|assistant|>\n"
    assert Chat(byte_level(), "zephyr", system="Be kind.").rendered_template == (
        "<|system|>\nBe kind.</s>\n<|user|>\n{instruction}</s>\n<|assistant|>\n"
    )
    assert Chat(byte_level(), "chatml").rendered_template == (
        "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_named_format_wins_over_the_tokenizers_own():
    assert "<|im_start|>" not in Chat(byte_level(CHATML), "zephyr").rendered_template


@pytest.mark.parametrize(("bos", "lead"), [(True, (0,)), (False, ())])
def test_no_format_is_the_bare_instruction(bos, lead):
    chat = Chat(byte_level(CHATML, bos=bos), "none")
    rendered = chat.render("tell me about kittens")
    assert rendered.ids == (*lead, *chat.tokenizer("tell me about kittens", add_special_tokens=False)["input_ids"])
    assert rendered.t_inst == len(rendered.ids) - 1
    assert (chat.n_post, chat.post_tokens, chat.positions, chat.end_of_turn()) == (0, [], (-1,), None)
    assert chat.rendered_template == ("<s>" if bos else "") + "{instruction}"
    with pytest.raises(RequestError, match="empty"):
        chat.render(" ")


def test_no_format_takes_no_system_prompt():
    with pytest.raises(RequestError, match="'none' has no place for a system prompt"):
        Chat(byte_level(), "none", system="Be kind.")


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "gemma"])
def test_a_system_prompt_comes_before_the_instruction_and_moves_no_position(name):
    plain, chat = byte_chat(name), byte_chat(name, "Be kind.")
    rendered = chat.render("Be kind.")  # the instruction may say the same
    assert rendered.text.count("Be kind.") == 2
    assert "You are tiny." not in rendered.text
    assert chat.post_ids == plain.post_ids
    assert chat.sha256 != plain.sha256
    assert decoded(chat, rendered.ids[: rendered.t_inst + 1]).endswith("Be kind.")


def test_a_template_that_rejects_a_system_prompt():
    with pytest.raises(RequestError, match=r"System role not supported.*--geoaudit-template"):
        Chat(byte_level(GEMMA), system="Be kind.")


def test_a_template_that_drops_the_system_prompt():
    silent = "{% for m in messages if m['role'] == 'user' %}<s>{{ m['content'] }}</s>{% endfor %}"
    assert Chat(byte_level(silent)).n_post == 1
    with pytest.raises(RequestError, match="leaves the system prompt out"):
        Chat(byte_level(silent), system="Be kind.")


def test_the_templates_own_system_prompt_is_shown():
    assert byte_chat("chatml with a system prompt of its own").rendered_template.startswith(
        "<|im_start|>system\nYou are tiny.<|im_end|>\n"
    )


@pytest.mark.parametrize("name", ["qwen 3", "always thinks"])
def test_positions_are_read_behind_a_closed_thinking_block(name):
    chat = byte_chat(name)
    assert chat.rendered_template.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert chat.n_post > byte_chat("chatml").n_post
    assert decoded(chat, chat.post_ids).endswith("</think>\n\n")


def test_with_thinking_the_template_is_told_and_an_open_block_stays_open():
    silent = Chat(byte_level(QWEN3), thinking=True)  # the model opens its block itself
    assert silent.rendered_template == byte_chat("chatml").rendered_template
    assert silent.render("kittens").prefill == ""
    chat = Chat(byte_level(ALWAYS_THINKS), thinking=True)
    rendered = chat.render("kittens")
    assert chat.rendered_template.endswith("<|im_start|>assistant\n<think>\n")
    assert decoded(chat, rendered.ids) == rendered.text
    assert decoded(chat, chat.post_ids).endswith("<think>\n")
    assert chat.sha256 != byte_chat("always thinks").sha256
    # the answer has begun with the marker, so a thought without an end is not read as an answer
    assert (rendered.prefill, rendered.n_prefill) == ("<think>\n", 0)
    assert chat.render("kittens", "tell me", k=1).prefill == "<think>\ntell"
    assert byte_chat("always thinks").render("kittens").prefill == ""


@pytest.mark.parametrize("told", ["enable_thinking", "thinking"])
def test_templates_read_one_of_two_switches(told):
    template = CHATML + "{{ 'on' if " + told + " else 'off' }}"
    assert Chat(byte_level(template)).rendered_template.endswith("off")
    assert Chat(byte_level(template), thinking=True).rendered_template.endswith("on")


TURN_WITH_A_DATE = (
    "<|start_header_id|>system<|end_header_id|>\n\nDate: 26 Jul 2024\n\n"
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] }}{% endif %}<|eot_id|>"
    "{% for m in messages if m['role'] != 'system' %}{{ m['role'] + m['content'] }}{% endfor %}</s>"
)
STUBBORN = (  # as SmolLM3's: an empty system message counts as none
    "{% if messages[0]['role'] == 'system' and messages[0]['content'] | trim %}{{ messages[0]['content'] }}"
    "{% else %}You are tiny.{% endif %}</s>"
    "{% for m in messages if m['role'] != 'system' %}{{ m['content'] }}{% endfor %}</s>"
)
SILENT = "{% for m in messages if m['role'] == 'user' %}<s>{{ m['content'] }}</s>{% endfor %}"


@pytest.mark.parametrize(
    "template", [CHATML, LLAMA3, GEMMA, MISTRAL, QWEN3, ALWAYS_THINKS, PARTS, SILENT, TURN_WITH_A_DATE]
)
def test_an_empty_system_prompt_changes_nothing_where_the_template_brings_none(template):
    plain, chat = Chat(byte_level(template)), Chat(byte_level(template), system="")
    assert chat.rendered_template == plain.rendered_template
    assert chat.render("tell me about kittens") == plain.render("tell me about kittens")
    assert chat.end_of_turn() == plain.end_of_turn()


@pytest.mark.parametrize("parts", [False, True])
def test_an_empty_system_prompt_takes_away_the_templates_own(parts):
    template = WITH_DEFAULT_SYSTEM
    if parts:
        template = template.replace("message['content']", "message['content'][0]['text']")
    plain, chat = Chat(byte_level(template)), Chat(byte_level(template), system="")
    assert "You are tiny." in plain.rendered_template
    assert chat.rendered_template == (
        "<|im_start|>system\n<|im_end|>\n<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n"
    )
    rendered = chat.render("tell me about kittens?")
    assert chat.post_ids == plain.post_ids
    assert decoded(chat, rendered.ids) == rendered.text
    assert decoded(chat, rendered.ids[: rendered.t_inst + 1]).endswith("kittens?")
    assert chat.end_of_turn() == plain.end_of_turn()


def test_a_system_prompt_that_cannot_be_taken_away_is_an_error():
    assert Chat(byte_level(STUBBORN), system="Be kind.").rendered_template.startswith("Be kind.</s>")
    with pytest.raises(RequestError, match=r"a system prompt of its own.*--geoaudit-template"):
        Chat(byte_level(STUBBORN), system="")


def test_no_format_has_no_system_prompt():
    assert Chat(byte_level(), "none", system="").render("kittens") == Chat(byte_level(), "none").render("kittens")


def test_a_date_does_not_move_the_tokens_from_day_to_day():
    dated = "Today is {{ strftime_now('%d %b %Y') }}, {{ strftime_now('%Y-%m-%d') }}\n" + CHATML
    text = Chat(byte_level(dated)).rendered_template
    assert text.startswith("Today is 26 Jul 2024, 2024-07-26\n<|im_start|>")
    assert str(datetime.datetime.now(datetime.UTC).year) not in text


@pytest.mark.parametrize(
    ("name", "token"),
    [("chatml", "<|im_end|>"), ("llama 3", "<|eot_id|>"), ("gemma", "<end_of_turn>"), ("mistral", "</s>")],
)
def test_end_of_turn(name, token):
    chat = byte_chat(name)
    assert chat.end_of_turn() == chat.tokenizer.convert_tokens_to_ids(token)


def test_no_end_of_turn_where_the_template_has_none():
    assert Chat(byte_level("{{ messages[0]['content'] }}<|assistant|>")).end_of_turn() is None
    assert Chat(byte_level("{% for m in messages %}{{ m['content'] }}\n\n{% endfor %}")).end_of_turn() is None


def test_no_template():
    with pytest.raises(MissingTemplate, match=r"--geoaudit-template FILE\|zephyr\|chatml\|none"):
        Chat(byte_level())


def test_several_templates_without_a_default():
    tokenizer = word_tokenizer(TOKENS)
    tokenizer.chat_template = {"rag": CHATML, "tool_use": CHATML}
    with pytest.raises(MissingTemplate, match="--geoaudit-template"):
        Chat(tokenizer)
    tokenizer.chat_template = {"default": LLAMA3, "tool_use": CHATML}
    assert "<|start_header_id|>" in Chat(tokenizer).rendered_template


def test_a_name_that_is_neither_a_format_nor_a_template():
    with pytest.raises(UnknownName, match="'zephir' \\(did you mean 'zephyr'"):
        Chat(byte_level(), "zephir")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ messages[0]['content'", "does not render.*TemplateSyntaxError"),
        ("{{ messages[0]['content'] + nothing }}", "does not render.*UndefinedError"),
        ("{{ 'hello' }}", "shows the instruction 0 times"),
        ("{{ messages[0]['content'] }}{{ messages[0]['content'] }}", "shows the instruction 2 times"),
        ("{{ messages[0]['content'] | upper }}", "shows the instruction 0 times"),
    ],
)
def test_templates_that_cannot_be_used(template, message):
    with pytest.raises(RequestError, match=message):
        Chat(byte_level(), template)
