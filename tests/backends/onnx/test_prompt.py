"""Which chat template and which start token a folder's files ask for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.tiny_genai import load, request

from backends.onnx.prompt import PromptEncoder
from backends.shield import SHIELD
from messages.content import PromptInput


@pytest.fixture
def copied(tiny_folder: Path, tmp_path: Path) -> Path:
    """A folder that a test may change."""
    return Path(shutil.copytree(tiny_folder, tmp_path / "model"))


def set_in(file: Path, **values: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def remove_from(file: Path, name: str) -> None:
    values = json.loads(file.read_text())
    del values[name]
    file.write_text(json.dumps(values))


def count(folder: Path, prompt: str | list[tuple[str, str]]) -> int:
    backend = load(folder)
    try:
        return backend.count_tokens(request(prompt).prompt)
    finally:
        backend.close()


def test_a_template_file_goes_before_the_one_in_the_tokenizer_s_settings(copied: Path) -> None:
    (copied / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    assert count(copied, [("user", "abc")]) == 4


def test_special_tokens_named_in_the_template_are_one_token_each(copied: Path) -> None:
    template = "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"
    tokens = {"bos_token": {"content": "<|im_start|>"}, "eos_token": "<|im_end|>"}
    set_in(copied / "tokenizer_config.json", chat_template=template, **tokens)
    assert count(copied, [("user", "abc")]) == 5


def test_without_a_template_chatml_is_used(copied: Path) -> None:
    remove_from(copied / "tokenizer_config.json", "chat_template")
    assert count(copied, [("user", "abc")]) == count(copied, "<|im_start|>user\nabc<|im_end|>\n<|im_start|>assistant\n")


@pytest.mark.parametrize(
    ("file", "values"),
    [
        ("tokenizer_config.json", {"add_bos_token": True}),
        (
            "tokenizer.json",
            {
                "post_processor": {
                    "type": "TemplateProcessing",
                    "single": [
                        {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                        {"Sequence": {"id": "A", "type_id": 0}},
                    ],
                    "pair": [],
                    "special_tokens": {
                        "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
                    },
                }
            },
        ),
    ],
    ids=["setting", "post-processor"],
)
def test_a_bare_prompt_gets_a_start_token_where_the_tokenizer_wants_one(
    copied: Path, file: str, values: dict[str, Any]
) -> None:
    remove_from(copied / "tokenizer_config.json", "add_bos_token")
    assert count(copied, "abc") == 3
    set_in(copied / file, **values)
    assert count(copied, "abc") == 4
    assert count(copied, "") == 1


class Letters:
    """A tokenizer for which every letter is the same token."""

    def encode(self, text: str) -> list[int]:
        return [1] * len(text)


@pytest.mark.parametrize(
    "processor", [1.5, [], {"processors": None}, {"processors": [1]}, {"single": {"a": 1}}, {"single": [None]}]
)
def test_a_post_processor_of_an_odd_shape_adds_no_start(copied: Path, processor: object) -> None:
    description = {**json.loads((copied / "tokenizer.json").read_text()), "post_processor": processor}
    remove_from(copied / "tokenizer_config.json", "add_bos_token")
    encoder = PromptEncoder(copied, description, Letters(), bos_token=0)
    assert encoder.encode(PromptInput(prompt="abc")).tokens == [1, 1, 1]


def test_the_mark_that_shields_a_message_s_text_is_not_part_of_it(copied: Path) -> None:
    assert count(copied, [("user", f"a{SHIELD}b")]) == count(copied, [("user", "ab")])
