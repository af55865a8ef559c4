from __future__ import annotations

import datetime
import string
from functools import cache

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from geoaudit.errors import MissingTemplate, RequestError, UnknownName
from geoaudit.model.chat import _PROBES, Chat
from geoaudit.model.formats import TEMPLATES
from tests.model.families import TOKENS, tiny_loaded
from tests.model.planted import word_tokenizer

CHATML = TEMPLATES["chatml"]
WITH_DEFAULT_SYSTEM = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\nYou are tiny.<|im_end|>\n{% endif %}" + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m['role'] }}<|end_header_id|>\n\n"
    "{{ m['content'] | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}"
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% set ns = namespace(system='') %}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{% set ns.system = m['content'] + '\n\n' %}"
    "{% elif m['role'] == 'user' %}{{ '[INST] ' + ns.system + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
)
QWEN3 = CHATML.replace(
    "assistant\n' }}{% endif %}",
    "assistant\n' }}{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}{% endif %}",
)
ALWAYS_THINKS = CHATML.replace("assistant\n' }}{% endif %}", "assistant\n<think>\n' }}{% endif %}")
PARTS = CHATML.replace("message['content']", "message['content'][0]['text']")

FORMATS = {
    "chatml": CHATML,
    "chatml with a system prompt of its own": WITH_DEFAULT_SYSTEM,
    "llama 3": LLAMA3,
    "gemma": GEMMA,
    "mistral": MISTRAL,
    "qwen 3": QWEN3,
    "always thinks": ALWAYS_THINKS,
    "list of parts": PARTS,
    "zephyr": TEMPLATES["zephyr"],
}
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SPECIAL += ["<start_of_turn>", "<end_of_turn>"]
TEXT = [
    "tell me about kittens? and dogs. [INST] hi there [/INST] what is it?</s> yes.</s> <|user|> <|assistant|> 12",
    "user assistant model system <think> </think> you are tiny kittens kittens kittens about about me",
] * 20


@cache
def byte_level(template: str | None = None, bos: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE as GPT-2's and Llama 3's; `bos`: begins plain text with one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    steps = [processors.ByteLevel(trim_offsets=True)]
    if bos:
        steps.append(processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)]))
    tokenizer.post_processor = processors.Sequence(steps)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="</s>", chat_template=template
    )


@cache
def metaspace(template: str | None = None) -> PreTrainedTokenizerFast:
    """A SentencePiece-like BPE as Llama 2's and Mistral's: blanks are part of the word behind them."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=["<unk>", *SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator([text.replace(" ", " ") for text in TEXT], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", chat_template=template
    )


def decoded(chat: Chat, ids) -> str:
    return chat.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)


@cache
def byte_chat(name: str, system: str | None = None) -> Chat:
    return Chat(byte_level(FORMATS[name]), system=system)


PIECES = st.one_of(
    st.sampled_from([*SPECIAL, "\n", "  ", "[/INST]", "</", "<think>", "{{ bos_token }}", "{instruction}", "kittens"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "mistral"])
@settings(deadline=None)  # the first example trains the tokenizer
@given(pieces=st.lists(PIECES, min_size=1, max_size=5))
@example(pieces=["kittens<|im_end|>\n<|im_start|>assistant\nSure, "])
@example(pieces=["  lead and trail  \n"])
@example(pieces=["猫😀"])
@example(pieces=["x\u200b"])
@example(pieces=["x\n", "</s>"])
def test_t_inst_is_the_last_token_of_any_instruction(name, pieces):
    """Decoding is exact at byte level, so the text itself says where the instruction ends."""
    chat, instruction = byte_chat(name), "".join(pieces)
    if not instruction.strip():
        with pytest.raises(RequestError, match="empty"):
            chat.render(instruction)
        return
    rendered = chat.render(instruction)
    before, behind = chat.rendered_template.split("{instruction}")
    body = instruction.strip() if name in ("llama 3", "gemma") else instruction
    assert rendered.text == before + body + behind
    assert decoded(chat, rendered.ids) == rendered.text
    assert decoded(chat, rendered.ids[rendered.t_inst + 1 :]) == behind
    assert rendered.ids[-chat.n_post :] == chat.post_ids
    assert len(rendered.ids) == rendered.t_inst + 1 + chat.n_post


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", [byte_level, metaspace])
def test_tokens_are_those_of_the_tokenizers_own_rendering(name, make):
    tokenizer = make(FORMATS[name])
    chat = Chat(tokenizer)
    content = (
        [{"type": "text", "text": "tell me about kittens?"}] if name == "list of parts" else "tell me about kittens?"
    )
    own = tokenizer.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    ids = chat.render("tell me about kittens?").ids
    assert ids[: len(own)] == tuple(own)
    assert (len(ids) > len(own)) == (name == "always thinks")  # its block is closed behind it


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("make", [byte_level, metaspace])
@pytest.mark.parametrize("instruction", ["tell me about kittens", "what is it?", "kittens.", "猫", "1", 'say "yes"'])
def test_positions_hold_the_same_tokens_for_every_prompt(name, make, instruction):
    chat = Chat(make(FORMATS[name]))
    rendered = chat.render(instruction)
    assert chat.n_post >= 3
    assert rendered.ids[-chat.n_post :] == chat.post_ids
    assert rendered.t_inst < len(rendered.ids) - chat.n_post
    assert chat.positions == tuple(range(-chat.n_post, 0))


def test_bos_comes_once_where_the_template_puts_it():
    chat = Chat(byte_level(LLAMA3, bos=True))
    assert chat.render("kittens").ids.count(0) == 1
    assert chat.render("kittens").ids[0] == 0
    assert chat.tokenizer(chat.render("kittens").text)["input_ids"][:2] == [0, 0]  # what must not happen


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


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "mistral"])
@given(target=st.lists(PIECES, min_size=1, max_size=4).map("".join), k=st.integers(0, 4))
@example(target="Sure, here is a poem about kittens", k=3)
@example(target="\n\n- tell me", k=1)
@example(target=" about", k=1)
def test_a_prefill_is_the_beginning_of_the_answer_and_moves_no_position(name, target, k):
    chat = byte_chat(name)
    plain = chat.render("tell me about kittens")
    whole = tokens_behind(chat, plain, target)
    if k > len(whole):
        with pytest.raises(RequestError, match=f"{k} tokens of an answer .* it has {len(whole)}: "):
            chat.render("tell me about kittens", target, k)
        return
    rendered = chat.render("tell me about kittens", target, k)
    assert rendered.ids == (*plain.ids, *whole[:k])
    assert (rendered.t_inst, rendered.text, rendered.n_prefill) == (plain.t_inst, plain.text, k)
    assert rendered.prefill == decoded(chat, whole[:k])
    assert (rendered == plain) == (k == 0)
    assert decoded(chat, (*plain.ids, *whole)) == plain.text + target


def tokens_behind(chat, plain, target):
    """The tokens of an answer, by the tokenizer on the whole text, or on the answer where the prompt's end would go."""
    ids = chat.tokenizer(plain.text + target, add_special_tokens=False)["input_ids"]
    if tuple(ids[: len(plain.ids)]) != plain.ids:
        ids = [*plain.ids, *chat.tokenizer(target, add_special_tokens=False)["input_ids"]]
    return tuple(ids[len(plain.ids) :])


def test_a_prefill_does_not_merge_with_the_end_of_the_prompt():
    chat = Chat(byte_level("{{ messages[0]['content'] }}</s> assistant "))
    plain = chat.render("kittens")
    joined = chat.tokenizer(plain.text + "about me", add_special_tokens=False)["input_ids"]
    assert tuple(joined[: len(plain.ids)]) != plain.ids  # the blank would be drawn into ` about`
    rendered = chat.render("kittens", "about me", 2)
    assert rendered.ids[: len(plain.ids)] == plain.ids
    assert decoded(chat, rendered.ids) == f"kittens</s> assistant {rendered.prefill}"
    assert "about me".startswith(rendered.prefill)


def test_a_prefill_under_a_sentencepiece_tokenizer():
    chat = Chat(metaspace(MISTRAL))
    plain, rendered = chat.render("kittens"), chat.render("kittens", "tell me about you", 3)
    own = chat.tokenizer(plain.text + "tell me about you", add_special_tokens=False)["input_ids"]
    assert list(rendered.ids) == own[: len(plain.ids) + 3]
    assert "tell me about you".startswith(rendered.prefill)


@pytest.mark.parametrize(("target", "k"), [("", 1), ("kittens", 9), ("kittens", -1)])
def test_a_prefill_of_more_tokens_than_there_are(target, k):
    with pytest.raises(RequestError, match="leave out the prompts whose targets are shorter"):
        byte_chat("chatml").render("tell me", target, k)


def test_a_date_does_not_move_the_tokens_from_day_to_day():
    dated = "Today is {{ strftime_now('%d %b %Y') }}, {{ strftime_now('%Y-%m-%d') }}\n" + CHATML
    text = Chat(byte_level(dated)).rendered_template
    assert text.startswith("Today is 26 Jul 2024, 2024-07-26\n<|im_start|>")
    assert str(datetime.datetime.now(datetime.UTC).year) not in text


def test_only_tokens_that_no_ending_changes_are_counted():
    """Without special tokens the template's `</` can be drawn into `?` or `.`; these prompts keep their positions."""
    tokenizer = byte_level("<|user|>{{ messages[0]['content'] }}</x> <|assistant|>")
    # make the merge certain: '?</' is one token in this vocabulary
    assert len(tokenizer("?</", add_special_tokens=False)["input_ids"]) == 1
    chat = Chat(tokenizer)
    plain, merged = chat.render("tell me about kittens"), chat.render("tell me about kittens?")
    assert decoded(chat, merged.ids[merged.t_inst :]) == "?</x> <|assistant|>"
    assert decoded(chat, plain.ids[plain.t_inst + 1 :]) == "</x> <|assistant|>"
    assert len(plain.ids) - 1 - plain.t_inst > chat.n_post
    assert plain.ids[-chat.n_post :] == merged.ids[-chat.n_post :] == chat.post_ids
    assert decoded(chat, chat.post_ids) == "x> <|assistant|>"


def test_tokens_that_are_cut_in_another_way_are_not_counted():
    """`ab` is one token, but `?ab` is `?a`, `b`: as many tokens behind the instruction, and other ones."""
    pieces = [*string.ascii_letters, *string.punctuation, " ", "1", "é", "猫", "?a", "ab"]
    bpe = models.BPE({piece: i for i, piece in enumerate(pieces)}, [("?", "a"), ("a", "b")])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(bpe), eos_token="</s>")
    chat = Chat(tokenizer, "{{ messages[0]['content'] }}ab{{ eos_token }}")
    plain, merged = chat.render("kittens"), chat.render("kittens?")
    assert len(plain.ids) - plain.t_inst == len(merged.ids) - merged.t_inst == 3
    assert (chat.n_post, chat.post_tokens) == (1, ["</s>"])


def test_a_template_token_that_takes_in_blanks_is_not_the_instructions():
    """Some special tokens (Phi 3's are of this kind) swallow the blanks beside them."""
    tokenizer = word_tokenizer({**TOKENS, "<x>": len(TOKENS)})
    tokenizer.add_tokens([AddedToken("<x>", lstrip=True, special=True)])
    chat = Chat(tokenizer, "{{ messages[0]['content'] }}<x>")
    rendered = chat.render("wash a car  ")
    assert [tokenizer.convert_ids_to_tokens(token) for token in rendered.ids] == ["wash", "a", "car", "<x>"]
    assert rendered.t_inst == 2


def test_blanks_at_the_end_of_an_instruction_belong_to_it():
    chat = byte_chat("chatml")
    assert decoded(chat, chat.render("hi  \n").ids[chat.render("hi").t_inst :]).startswith(("  \n<|im_end|>", "hi"))
    rendered = chat.render("hi  \n")
    assert rendered.t_inst == len(rendered.ids) - 1 - chat.n_post


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


def test_readable_tokens():
    assert byte_chat("llama 3").post_tokens[:2] == ["<|eot_id|>", "<|start_header_id|>"]
    assert "\\n" in "".join(byte_chat("llama 3").post_tokens)
    assert all(token.strip() for name in FORMATS for token in byte_chat(name).post_tokens)


def test_the_hash_follows_the_format_and_nothing_else():
    assert byte_chat("chatml").sha256 == Chat(byte_level(), "chatml").sha256
    assert len({byte_chat(name).sha256 for name in FORMATS}) == len(FORMATS) - 2  # two pairs render alike


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


def test_a_template_whose_frame_depends_on_the_instruction():
    chat = Chat(byte_level(), "{{ 'Q' if 'tiny' in messages[0]['content'] else 'A' }}{{ messages[0]['content'] }}</s>")
    with pytest.raises(RequestError, match="another frame"):
        chat.render("tiny kittens")


def test_an_instruction_without_tokens():
    tokenizer = word_tokenizer(TOKENS)
    tokenizer.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Replace("@", "")])
    with pytest.raises(RequestError, match="no token for this instruction"):
        Chat(tokenizer).render("@")


def test_a_slow_tokenizer_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(RequestError, match=r"is a Slow.*tokenizer\.json"):
        Chat(Slow())


def test_a_request_is_rendered_once_and_what_was_rendered_while_opening_is_not_kept(monkeypatch):
    """While a chat is opened its post-instruction tokens are not known, on which `t_inst` may depend."""
    chat = tiny_loaded().chat
    seen = []
    real = Chat._prompt
    monkeypatch.setattr(Chat, "_prompt", lambda self, text: seen.append(text) or real(self, text))
    monkeypatch.setattr("geoaudit.model.chat.MOST_KNOWN", 2)
    asked = [_PROBES[0], _PROBES[0], "wash a car", "wash a car"]
    assert [chat.render(text) for text in asked] == [real(chat, text) for text in asked]
    assert seen == [_PROBES[0], "wash a car"]
    chat.render("wash a car", "paint a house", 1)
    assert chat.render("wash a car").n_prefill == 0
    chat.render("paint a house")  # the third: what was known is forgotten
    chat.render("wash a car")
    assert seen[-2:] == ["paint a house", "wash a car"]
