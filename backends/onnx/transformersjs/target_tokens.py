"""How the answer of an encoder-decoder begins, by its folder's configs: `TargetTokens`.

Keys are those of Transformers' `GenerationConfig`; `config.json` has them in older folders. Above it:
`encoder_decoder_loader`.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ValidationError

from backends.huggingface.files import read_json, refuse
from backends.onnx.transformersjs.folder import read_generation_config


@dataclass(frozen=True, slots=True)
class TargetTokens:
    """The tokens that stand before every answer, and those that are never in one (Marian's padding, for instance)."""

    start: tuple[int, ...]
    barred: tuple[int, ...]


class _Config(BaseModel):
    decoder_start_token_id: int | None = None
    pad_token_id: int | None = None
    forced_bos_token_id: int | None = None
    bad_words_ids: list[list[int]] = []
    suppress_tokens: list[int] = []


def read_target_tokens(path: Path, vocab_size: int) -> TargetTokens:
    """Read a folder's configs. Raises HostError `model_invalid` if nothing tells how an answer begins."""
    config = _read(path)
    start = config.pad_token_id if config.decoder_start_token_id is None else config.decoder_start_token_id
    if start is None:
        refuse(path / "config.json", "names no decoder_start_token_id, so no answer could begin")
    forced = config.forced_bos_token_id
    tokens = TargetTokens(
        start=(start,) if forced is None else (start, forced),
        barred=(*config.suppress_tokens, *(words[0] for words in config.bad_words_ids if len(words) == 1)),
    )
    for token in (*tokens.start, *tokens.barred):
        if not 0 <= token < vocab_size:
            refuse(path / "config.json", f"names the token {token} in a vocabulary of {vocab_size}")
    return tokens


def _read(path: Path) -> _Config:
    said = {key: value for key, value in read_json(path / "config.json").items() if value is not None}
    try:
        return _Config.model_validate({**read_generation_config(path), **said})
    except ValidationError as error:
        places = [".".join(map(str, problem["loc"])) + ": " + problem["msg"] for problem in error.errors()]
        refuse(path / "config.json", f"is not complete ({'; '.join(places[:3])})", error)
