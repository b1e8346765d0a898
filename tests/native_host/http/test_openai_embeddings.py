"""Embeddings and the list of models, as the openai Python client sees them from a real daemon."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from support.http_host import HttpHost
from support.tiny_embedder import make_embedder, reference_embedding

TEXTS = ["a cat", "the raining sun", "dog"]
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost("--no-token") as made:
        yield made


@pytest.fixture(scope="module")
def folder(host: HttpHost) -> Path:
    """The embedding model, in the host's own folder of models."""
    models = host.home.data_dir / "models"
    models.mkdir(parents=True, exist_ok=True)
    return make_embedder(models / "tiny embedder")


@pytest.fixture(scope="module")
def openai(host: HttpHost, folder: Path) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{host.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


def test_each_text_has_its_vector_in_order_and_of_length_one(openai: OpenAI, folder: Path) -> None:
    answer = openai.embeddings.create(model=folder.name, input=TEXTS, encoding_format="float")
    assert (answer.object, answer.model, [row.index for row in answer.data]) == ("list", folder.name, [0, 1, 2])
    for row, text in zip(answer.data, TEXTS, strict=True):
        assert np.linalg.norm(row.embedding) == pytest.approx(1, abs=1e-5)
        assert np.abs(np.array(row.embedding) - reference_embedding(folder, text, "mean", True)).max() < TOLERANCE
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > len(TEXTS)


def test_base64_which_the_client_asks_for_by_itself_is_the_same_vector(openai: OpenAI, folder: Path) -> None:
    plain = openai.embeddings.create(model=folder.name, input="a cat", encoding_format="float").data[0].embedding
    by_itself = openai.embeddings.create(model=folder.name, input="a cat").data[0].embedding
    assert by_itself == pytest.approx(plain, abs=1e-6)
    raw: Any = openai.embeddings.create(model=folder.name, input="a cat", encoding_format="base64").data[0].embedding
    assert np.frombuffer(base64.b64decode(raw), "<f4") == pytest.approx(plain, abs=1e-6)


def test_the_models_own_number_of_dimensions_may_be_asked_for_and_no_other(openai: OpenAI, folder: Path) -> None:
    assert len(openai.embeddings.create(model=folder.name, input="a", dimensions=32).data[0].embedding) == 32
    with pytest.raises(BadRequestError) as refused:
        openai.embeddings.create(model=folder.name, input="a", dimensions=16)
    assert refused.value.param == "dimensions"


def test_a_text_that_does_not_fit_is_refused_and_named(openai: OpenAI, folder: Path) -> None:
    with pytest.raises(BadRequestError, match="Text 1 of input") as refused:
        openai.embeddings.create(model=folder.name, input=["a", "the dog " * 100])
    assert (refused.value.param, refused.value.code) == ("input", "context_length_exceeded")


def test_null_is_not_set_as_it_is_elsewhere(openai: OpenAI, folder: Path) -> None:
    unset = {"encoding_format": None, "dimensions": None, "user": None}
    answer = openai.embeddings.create(model=folder.name, input="a", encoding_format="float", extra_body=unset)
    assert all(isinstance(value, float) for value in answer.data[0].embedding)


@pytest.mark.parametrize(
    ("name", "value"), [("input", []), ("input", [[1, 2]]), ("encoding_format", "int8"), ("nonsense", 1)]
)
def test_what_embeddings_cannot_do_is_refused_by_name(openai: OpenAI, folder: Path, name: str, value: object) -> None:
    with pytest.raises(BadRequestError) as refused:
        openai.embeddings.create(model=folder.name, input="a", extra_body={name: value})
    assert (refused.value.param or "").startswith(name)


@pytest.mark.parametrize("tokens", [[1, 2], [[1, 2], [3]], ["a", [3]]])
def test_tokens_of_openais_tokenizer_are_refused_and_it_is_said_who_sends_them(
    openai: OpenAI, folder: Path, tokens: Any
) -> None:
    with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False") as refused:
        openai.embeddings.create(model=folder.name, input=tokens)
    assert refused.value.param == "input"


def test_a_text_model_makes_no_vectors_and_an_embedding_model_no_text(openai: OpenAI, folder: Path) -> None:
    with pytest.raises(BadRequestError):
        openai.embeddings.create(model="demo", input="a")
    with pytest.raises(BadRequestError):
        openai.chat.completions.create(model=folder.name, messages=[{"role": "user", "content": "a"}])


def test_the_list_has_what_can_be_loaded_and_what_was_loaded_from_elsewhere(
    openai: OpenAI, host: HttpHost, folder: Path, tmp_path: Path
) -> None:
    elsewhere = make_embedder(tmp_path / "elsewhere")
    openai.embeddings.create(model=str(elsewhere), input="a")
    with host.port() as port:
        state = port.call("get_state")
    models = {model.id: model for model in openai.models.list()}
    assert {"demo", folder.name, state["active"]} <= set(models)
    assert models[folder.name].owned_by == "onnx"
    assert models["demo"].created > 1_600_000_000
    assert len(models) == len(list(openai.models.list()))


def test_one_model_can_be_asked_for_by_name(openai: OpenAI, folder: Path) -> None:
    for name in ("demo", folder.name):
        assert openai.models.retrieve(name).id == name
    with pytest.raises(NotFoundError) as missing:
        openai.models.retrieve("no-such-model")
    assert missing.value.code == "model_not_found"


def test_a_model_of_a_name_with_slashes_can_be_asked_for(openai: OpenAI, host: HttpHost) -> None:
    make_embedder(host.home.data_dir / "models" / "org" / "embedder")
    assert openai.models.retrieve("org/embedder").id == "org/embedder"
    assert openai.embeddings.create(model="org/embedder", input="a").data[0].embedding
