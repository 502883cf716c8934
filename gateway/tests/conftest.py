"""One gateway for the session; a test that breaks one starts its own."""

from collections.abc import Iterator

import httpx
import pytest

from .running import Gateway, gateway, ready


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("platform")) as running:
        ready(running)
        yield running


@pytest.fixture(scope="session")
def client(platform: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, timeout=20) as client:
        yield client


@pytest.fixture
def api(platform: Gateway, client: httpx.Client) -> httpx.Client:
    """A client of the gateway, whose services have not been called yet."""
    platform.reset()
    return client
