"""The reference for genai folders, in a process of its own: onnxruntime-genai's own Generator, and nothing else.

`python -m benchmarks.genai_reference FOLDER THREADS`. The loop is the one of genai's own examples, greedy, without
text: append the prompt, then `generate_next_token` and `get_next_tokens` for each token.
"""

import json
import sys
import time
from pathlib import Path

import onnxruntime_genai

from benchmarks.hosts import REPOSITORY
from benchmarks.line_process import LineProcess, answer_lines
from messages.frames import JsonObject

CONTEXT_TOKENS = 4096


class GeneratorLoop:
    """A model, and a new Generator for each run."""

    def __init__(self, folder: str, threads: int) -> None:
        config = onnxruntime_genai.Config(folder)
        options = {"intra_op_num_threads": threads}
        config.overlay(json.dumps({"model": {"decoder": {"session_options": options}}}))
        self._model = onnxruntime_genai.Model(config)
        self._tokenizer = onnxruntime_genai.Tokenizer(self._model)

    def answer(self, request: JsonObject) -> JsonObject:
        """Generate `tokens` tokens after `prompt`: `rate` is tokens a second from the first one on."""
        parameters = onnxruntime_genai.GeneratorParams(self._model)
        parameters.set_search_options(max_length=CONTEXT_TOKENS, do_sample=False)
        generator = onnxruntime_genai.Generator(self._model, parameters)
        generator.append_tokens(self._tokenizer.encode(request["prompt"]))
        generator.generate_next_token()
        tokens = [int(generator.get_next_tokens()[0])]
        first = time.perf_counter()
        while len(tokens) < request["tokens"] and not generator.is_done():
            generator.generate_next_token()
            tokens.append(int(generator.get_next_tokens()[0]))
        seconds = time.perf_counter() - first
        return {"rate": (len(tokens) - 1) / seconds, "tokens": len(tokens)}


class GenaiReference(LineProcess):
    """The other process, seen from here."""

    def __init__(self, folder: Path, threads: int) -> None:
        super().__init__([sys.executable, "-m", "benchmarks.genai_reference", str(folder), str(threads)], REPOSITORY)

    def run(self, prompt: str, tokens: int) -> JsonObject:
        """See `GeneratorLoop.answer`."""
        return self.ask({"prompt": prompt, "tokens": tokens})


def main() -> None:
    """Answer until stdin ends."""
    answer_lines(lambda: GeneratorLoop(sys.argv[1], int(sys.argv[2])).answer)


if __name__ == "__main__":
    main()
