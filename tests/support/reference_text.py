"""What a decoder graph says, computed without our engines and without a KV cache: what tests hold backends against.

onnxruntime with arrays in and out, the whole sequence read anew for every token, Hugging Face's tokenizer for the
prompt, and the tokens' bytes by the vocabulary of `tools.make_genai`.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from support.graph_decoder import ELEMENTS, GraphDecoder, open_session
from tokenizers import Tokenizer

from backends.onnx.limits import PIECE
from tools.make_genai import CHAT_TEMPLATE, SPECIAL_TOKENS, byte_alphabet

END_TOKENS = (0, 2)

ROUNDING = 0.05
"""Of 4-bit weights, whose products are made of 8-bit activations, and of half floats: ONNX Runtime 1.32 itself gives
scores that differ by so much when it reads a prompt whole and in steps. The best score is some 5 above the fiftieth.
"""

assert "<|im_start|>{{ m['role'] }}" in CHAT_TEMPLATE


class Reference:
    """One graph, and the folder whose tokenizer goes with it; `extra` are inputs that every run gets besides.

    rounding is by how much scores may differ by what is read at once alone: see `ROUNDING`.
    """

    def __init__(
        self,
        folder: Path,
        graph: Path,
        extra: Mapping[str, npt.NDArray[Any]] | None = None,
        rounding: float = 0.0,
    ) -> None:
        self._rounding = rounding
        self._graph = graph
        self._session = open_session(graph)
        self._extra = extra or {}
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        self._words = {index: word for word, index in vocabulary.items()}

    def encode(self, prompt: str | Sequence[tuple[str, str]]) -> list[int]:
        """The tokens of a bare prompt, or of turns as (role, text) up to where the assistant begins."""
        if not isinstance(prompt, str):
            turns = "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in prompt)
            prompt = turns + "<|im_start|>assistant\n"
        tokens: list[int] = self._tokenizer.encode(prompt, add_special_tokens=False).ids
        return tokens

    def word(self, token: int) -> str:
        """A token as the vocabulary spells it."""
        return str(self._words.get(token, ""))

    def logits(self, tokens: Sequence[int]) -> npt.NDArray[np.float32]:
        """Scores of the token that follows, `(vocab,)`."""
        count = len(tokens)
        feeds: dict[str, npt.NDArray[Any]] = {
            "input_ids": np.array([tokens], dtype=np.int64),
            "attention_mask": np.ones((1, count), dtype=np.int64),
            "position_ids": np.arange(count, dtype=np.int64)[None],
            "num_logits_to_keep": np.array(1, dtype=np.int64),
            "use_cache_branch": np.array([False]),
        }
        wanted = {value.name: value for value in self._session.get_inputs()}
        feeds = {name: array for name, array in feeds.items() if name in wanted}
        for name, value in wanted.items():
            if name.startswith("past_key_values."):
                feeds[name] = np.zeros((1, value.shape[1], 0, value.shape[3]), ELEMENTS[value.type])
        (logits,) = self._session.run(["logits"], {**feeds, **self._extra})
        last: npt.NDArray[np.float32] = logits[0, -1].astype(np.float32)
        return last

    def greedy(self, prompt: str | Sequence[tuple[str, str]], count: int) -> list[int]:
        """At most `count` tokens, the likeliest each; without the one that ends."""
        read = self.encode(prompt)
        start = len(read)
        while len(read) - start < count:
            token = int(self.logits(read).argmax())
            if token in END_TOKENS:
                break
            read.append(token)
        return read[start:]

    def greedy_in_steps(self, prompt: str | Sequence[tuple[str, str]], count: int) -> list[int]:
        """The same with the graph's own cache: what 8-bit files need, whose result depends on what is read at once."""
        decoder, new, chosen = GraphDecoder(self._graph), self.encode(prompt), list[int]()
        decoder.reset()
        while len(chosen) < count:
            pieces = [new[start : start + PIECE] for start in range(0, len(new), PIECE)]
            token = int([decoder.step(np.array([piece])) for piece in pieces][-1][0, -1].argmax())
            if token in END_TOKENS:
                break
            chosen.append(token)
            new = [token]
        return chosen

    def text(self, prompt: str | Sequence[tuple[str, str]], count: int = 24, in_steps: bool = False) -> str:
        """The text of `greedy` or `greedy_in_steps`."""
        return self.text_of((self.greedy_in_steps if in_steps else self.greedy)(prompt, count))

    def text_near(self, told: str, prompt: str | Sequence[tuple[str, str]], count: int = 24) -> str:
        """`told` if it is a greedy text but for rounding: every token's score within `rounding` of the best one's.

        Else the text of `greedy`.
        """
        start = self.encode(prompt)
        texts = (self.text_of(read[len(start) :]) for read in self._likeliest(start, len(start) + count))
        return told if told in texts else self.text(prompt, count)

    def _likeliest(self, read: list[int], length: int) -> Iterator[list[int]]:
        if len(read) == length:
            yield read
            return
        scores = self.logits(read)
        for token in map(int, np.flatnonzero(scores >= scores.max() - self._rounding)):
            if token in END_TOKENS:
                yield read
            else:
                yield from self._likeliest([*read, token], length)

    def text_of(self, tokens: Sequence[int]) -> str:
        """The text of tokens: special ones write nothing, nor does 0xFF, which no UTF-8 has and llguidance uses."""
        bytes_of = {character: byte for byte, character in byte_alphabet().items()}
        words = (self._words[token] for token in tokens if token >= len(SPECIAL_TOKENS))
        written = b"".join(bytes(bytes_of[character] for character in word) for word in words)
        return written.replace(b"\xff", b"").decode("utf-8", "replace")
