"""Tokens and their log-probabilities in the three shapes that OpenAI's endpoints have for them.

Above it: `native_host.http.openai_answers` and `native_host.http.openai_responses`. Below it: `messages.facts`. None
stands for "not asked for" throughout, and is null in an answer.

Source: OpenAI's API reference, and the types of the `openai` Python client 3.52.
"""

import codecs
from collections.abc import Sequence

from messages.facts import TokenLogprob, TokenScore
from messages.frames import JsonObject

Tokens = Sequence[TokenLogprob] | None


def chat_logprobs(tokens: Tokens) -> JsonObject | None:
    """`logprobs` of a chat completion's choice."""
    return None if tokens is None else {"content": response_logprobs(tokens), "refusal": None}


def response_logprobs(tokens: Tokens) -> list[JsonObject]:
    """`logprobs` of a response's text; none if they were not asked for."""
    return [{**_score(one), "top_logprobs": [_score(other) for other in one.top]} for one in tokens or ()]


class CompletionLogprobs:
    """`logprobs` of a completion's choice, piece by piece; it counts where in the text each token begins."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode
        self._offset = 0

    def of(self, tokens: Tokens) -> JsonObject | None:
        """The next tokens. Each token's likeliest others are by name, itself among them."""
        if tokens is None:
            return None
        return {
            "tokens": [_name(one) for one in tokens],
            "token_logprobs": [one.logprob for one in tokens],
            "top_logprobs": [{_name(other): other.logprob for other in (one, *one.top)} for one in tokens],
            "text_offset": [self._begin(one) for one in tokens],
        }

    def _begin(self, token: TokenLogprob) -> int:
        """Characters of text before a token; one that goes on with a character begins where that does."""
        begin = self._offset
        self._offset += len(self._decode(bytes(token.bytes or ())))
        return begin


def _score(one: TokenScore) -> JsonObject:
    return {"token": one.token, "logprob": one.logprob, "bytes": None if one.bytes is None else list(one.bytes)}


def _name(one: TokenScore) -> str:
    """A token as completions spell it: a piece of a character by its bytes, so that two of them differ."""
    data = bytes(one.bytes or ())
    try:
        data.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in data)
    return one.token
