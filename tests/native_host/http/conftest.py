"""A host with its HTTP door open and OpenAI's client before it, for each module of tests that makes none of its own."""

from collections.abc import Iterator

import pytest
from openai import OpenAI
from support.http_host import HttpHost


@pytest.fixture(scope="module")
def host() -> Iterator[HttpHost]:
    with HttpHost() as made:
        yield made


@pytest.fixture(scope="module")
def openai(host: HttpHost) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{host.url}/v1", api_key=host.token, max_retries=0, timeout=60) as client:
        yield client
