"""Greedy answers of an encoder-decoder folder without any cache: each step runs the decoder over the whole answer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from support.graph_decoder import open_session
from tokenizers import Tokenizer

from backends.huggingface.files import read_json
from backends.huggingface.vocabulary import TokenText, Vocabulary

Array = npt.NDArray[Any]


class FullRecompute:
    """Encoder and first decoder (or the merged one's first branch) of a folder, with arrays in and arrays out."""

    def __init__(self, folder: Path, suffix: str = "") -> None:
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._vocabulary = Vocabulary(folder, read_json(folder / "tokenizer.json"), 288, [1])
        self._encoder = open_session(folder / "onnx" / f"encoder_model{suffix}.onnx")
        merged = folder / "onnx" / f"decoder_model_merged{suffix}.onnx"
        alone = folder / "onnx" / f"decoder_model{suffix}.onnx"
        self._decoder = open_session(merged if merged.is_file() else alone)

    def text(self, prompt: str, count: int = 24, **wishes: Any) -> str:
        """The text of `tokens`."""
        return self.decode(self.tokens(self.tokenizer.encode(prompt).ids, count, **wishes))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of an answer, its bytes that are no character marked as the backend marks them."""
        text = TokenText(self._vocabulary, ())
        return "".join(map(text.feed, tokens)) + text.flush()

    def tokens(
        self,
        prompt: Sequence[int],
        count: int = 24,
        start: Sequence[int] = (0,),
        barred: Sequence[int] = (),
        penalised: Sequence[int] = (),
        presence_penalty: float = 0.0,
    ) -> list[int]:
        """The likeliest tokens up to the end token, 1; those chosen and those `penalised` lose `presence_penalty`."""
        source = np.array([prompt])
        states = self._encoder.run(None, {"input_ids": source, "attention_mask": np.ones_like(source)})[0]
        chosen: list[int] = []
        while len(chosen) < count:
            scores = self._scores([*start, *chosen], states)
            scores[[*barred]] = -np.inf
            scores[sorted({*penalised, *chosen})] -= presence_penalty
            token = int(scores.argmax())
            if token == 1:
                break
            chosen.append(token)
        return chosen

    def _scores(self, tokens: Sequence[int], states: Array) -> Array:
        feeds = {
            "input_ids": np.array([tokens]),
            "encoder_hidden_states": states,
            "encoder_attention_mask": np.ones(states.shape[:2], dtype=np.int64),
            "use_cache_branch": np.array([False]),
        }
        wanted = {value.name: value.shape for value in self._decoder.get_inputs()}
        pasts = {name: shape for name, shape in wanted.items() if name.startswith("past_key_values.")}
        feeds |= {name: np.zeros((1, shape[1], 0, shape[3]), np.float32) for name, shape in pasts.items()}
        logits = self._decoder.run(["logits"], {name: value for name, value in feeds.items() if name in wanted})[0]
        scores: Array = logits[0, -1]
        return scores
