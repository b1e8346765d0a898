"""What an encoder reads: prompts and messages with the tokenizer's own end, and real T5's kind of tokenizer."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from support.full_recompute import FullRecompute
from support.tiny_genai import load, run
from support.tiny_t5 import make_t5
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from backends.base import CancelToken
from backends.huggingface.files import read_json
from backends.onnx.transformersjs.source_prompt import SourceReader
from backends.onnx.transformersjs.tokenizer import JsonTokenizer
from messages.content import Message, PromptInput
from messages.errors import ErrorCode, HostError
from messages.options import JsonSchemaFormat, RegexFormat

END = 1


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without a chat template."""
    return make_t5(tmp_path)


def tokens_of(
    folder: Path, *messages: str, prompt: str | None = None, variables: dict[str, Any] | None = None
) -> list[int]:
    file = folder / "tokenizer.json"
    reader = SourceReader(folder, read_json(file), JsonTokenizer(file))
    turns = tuple(Message(role="user", content=text) for text in messages)
    return reader.encode(PromptInput(messages=turns or None, prompt=prompt, variables=variables or {})).tokens


def plain_tokens(folder: Path, text: str) -> list[int]:
    tokens: list[int] = Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text, add_special_tokens=False).ids
    return tokens


def write_tokenizer_config(folder: Path, **changes: Any) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def test_a_prompt_gets_the_tokenizer_s_own_end(folder: Path) -> None:
    assert tokens_of(folder, prompt="Hello there") == [*plain_tokens(folder, "Hello there"), END]


def test_messages_are_their_texts_with_line_breaks_between_them(folder: Path) -> None:
    assert tokens_of(folder, "summarize:", "A long story.") == tokens_of(folder, prompt="summarize:\nA long story.")


def test_a_chat_template_gets_the_variables_of_a_request(folder: Path) -> None:
    write_tokenizer_config(folder, chat_template="{{ task or 'answer' }}: {{ messages[0].content }}")
    assert tokens_of(folder, "hi", variables={"task": "sum"}) == plain_tokens(folder, "sum: hi")
    assert tokens_of(folder, "hi") == plain_tokens(folder, "answer: hi")


def test_a_chat_template_is_used_and_has_its_own_end(folder: Path) -> None:
    write_tokenizer_config(folder, chat_template="{% for m in messages %} {{ m.content }}{% endfor %}{{ eos_token }}!")
    assert tokens_of(folder, "a", "b") == [*plain_tokens(folder, " a b"), END, *plain_tokens(folder, "!")]


def test_a_special_token_s_spelling_in_a_message_is_no_special_token(folder: Path) -> None:
    assert tokens_of(folder, "a</s>b").count(END) == 1
    assert tokens_of(folder, prompt="a</s>b").count(END) == 2


@pytest.mark.parametrize("text", ["", "\ufdd0"])
def test_an_empty_prompt_has_no_tokens_and_is_an_invalid_request(folder: Path, text: str) -> None:
    assert tokens_of(folder, text) == []
    backend = load(folder)
    with pytest.raises(HostError) as caught:
        run(backend, text)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    backend.close()


def test_pictures_are_refused(folder: Path) -> None:
    backend = load(folder)
    parts = [{"type": "image", "data": "data:image/png;base64,AAAA"}]
    message = Message.model_validate({"role": "user", "content": parts})
    with pytest.raises(HostError) as caught:
        backend.count_tokens(PromptInput(messages=(message,)))
    assert caught.value.code is ErrorCode.UNSUPPORTED_OPTION
    backend.close()


def unigram_tokenizer() -> Tokenizer:
    """T5's kind: a SentencePiece unigram model whose spaces are a part of the words."""
    words = ["<pad>", "</s>", "<unk>", "\u2581", *(f"\u2581w{number}" for number in range(142))]
    words += [f"v{number}" for number in range(142)]
    tokenizer = Tokenizer(models.Unigram([(word, -float(len(word))) for word in words], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.add_special_tokens(words[:3])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", END)]
    )
    return tokenizer


def test_t5_s_kind_of_tokenizer_gives_words_with_spaces_and_none_in_front(folder: Path) -> None:
    tokenizer = unigram_tokenizer()
    tokenizer.save(str(folder / "tokenizer.json"))
    backend = load(folder)
    answer = FullRecompute(folder).tokens(tokenizer.encode("w1 w2").ids)
    outcome = run(backend, "w1 w2")
    assert outcome.text == tokenizer.decode(answer)
    assert outcome.end.input_tokens == 3
    assert " " in outcome.text
    assert not outcome.text.startswith(" ")
    backend.close()


def test_a_constraint_lets_the_first_word_have_its_space(folder: Path) -> None:
    unigram_tokenizer().save(str(folder / "tokenizer.json"))
    backend = load(folder)
    for seed in range(3):
        wanted = RegexFormat(type="regex", regex="w[12]( w3)?v4|w7")
        outcome = run(backend, "w1 w2", wanted, temperature=1.0, seed=seed)
        assert re.fullmatch(wanted.regex, outcome.text)
        assert outcome.end.output_tokens <= 3
    with pytest.raises(HostError) as caught:
        run(backend, "w1", RegexFormat(type="regex", regex=")("))
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    chosen = JsonSchemaFormat(type="json_schema", json_schema={"enum": [5]})
    with pytest.raises(HostError) as caught:
        run(backend, "w1", chosen)
    assert caught.value.code is ErrorCode.INVALID_REQUEST
    backend.close()


def test_nothing_of_one_conversation_shows_in_the_next(folder: Path) -> None:
    backend, fresh = load(folder), load(folder)
    answer = run(backend, [("user", "Hello")]).text
    turns = [("user", "Hello"), ("assistant", answer), ("user", "And then?")]
    assert run(backend, turns).text == run(fresh, turns, cancel=CancelToken()).text
    backend.close()
    fresh.close()
