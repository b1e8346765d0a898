"""Greedy answers of the exported files, by each engine's plainest way: for the evaluation and the agreement test.

Both use the chat template and the tokenizer that lie in the artefact itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from unittest.mock import patch

ROOT = Path(__file__).resolve().parents[2]
GGUF_FILE = ROOT / "backends" / "demo" / "demo-q8_0.gguf"
ONNX_FOLDER = ROOT / "backends" / "demo" / "onnx"
TRANSFORMERSJS_FOLDER = ROOT / "backends" / "demo" / "transformersjs"
CONTEXT_LENGTH = 2048

Messages = Sequence[Mapping[str, Any]]


class Engine(Protocol):
    """What the evaluation needs of an engine."""

    name: str

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text."""

    def prompt(self, messages: Messages) -> str:
        """The chat template of the artefact, applied, with the assistant's turn opened."""

    def answer(self, messages: Messages) -> str:
        """The greedy answer, up to the end of the turn or of the context."""


class LlamaCppEngine:
    """llama-cpp-python on the GGUF."""

    name = "GGUF Q8_0, llama.cpp"

    def __init__(self, path: Path = GGUF_FILE, threads: int = 1) -> None:
        import llama_cpp
        from llama_cpp.llama_chat_format import Jinja2ChatFormatter

        from backends.llamacpp import amx

        # Unset, the batch threads would be as many as there are cores, and spin against one another on a busy machine.
        # It has no option for the parameters that it begins with.
        with patch.object(llama_cpp.llama_cpp, "llama_model_default_params", amx.model_parameters):
            self._llama = llama_cpp.Llama(
                str(path), n_ctx=CONTEXT_LENGTH, n_threads=threads, n_threads_batch=threads, verbose=False
            )
        self._template = Jinja2ChatFormatter(
            template=self._llama.metadata["tokenizer.chat_template"], eos_token="<|im_end|>", bos_token=""
        )

    def encode(self, text: str) -> list[int]:
        return self._llama.tokenize(text.encode(), add_bos=False, special=True)

    def prompt(self, messages: Messages) -> str:
        rendered: Any = self._template(messages=cast(Any, messages))
        return str(rendered.prompt)

    def answer(self, messages: Messages) -> str:
        prompt = self.encode(self.prompt(messages))
        tokens: list[int] = []
        for token in self._llama.generate(prompt, temp=0.0, repeat_penalty=1.0):
            if token == self._llama.token_eos() or len(prompt) + len(tokens) >= CONTEXT_LENGTH - 1:
                break
            tokens.append(token)
        return self._llama.detokenize(tokens).decode("utf-8", "replace")

    def close(self) -> None:
        """Give the model's memory back."""
        self._llama.close()


class GenaiEngine:
    """onnxruntime-genai on the int4 folder."""

    name = "ONNX int4, onnxruntime-genai"

    def __init__(self, folder: Path = ONNX_FOLDER, threads: int = 1) -> None:
        import onnxruntime_genai

        self._genai = onnxruntime_genai
        config = onnxruntime_genai.Config(str(folder))
        session = {"session_options": {"intra_op_num_threads": threads}}
        config.overlay(json.dumps({"model": {"decoder": session}}))
        self._model = onnxruntime_genai.Model(config)
        self._tokenizer = onnxruntime_genai.Tokenizer(self._model)

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text)]

    def prompt(self, messages: Messages) -> str:
        applied = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
        return str(applied)

    def answer(self, messages: Messages) -> str:
        parameters = self._genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=CONTEXT_LENGTH, do_sample=False)
        generator = self._genai.Generator(self._model, parameters)
        generator.append_tokens(self.encode(self.prompt(messages)))
        tokens: list[int] = []
        while not generator.is_done():
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        return str(self._tokenizer.decode(tokens))
