"""One gateway for the session; tests of outages start their own."""

from collections.abc import Iterator

import httpx
import pytest

from .harness import Gateway, gateway, wait_until_ready


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("platform")) as running:
        wait_until_ready(running)
        yield running


@pytest.fixture(scope="session")
def client(platform: Gateway) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url, timeout=20) as client:
        yield client


@pytest.fixture
def api(platform: Gateway, client: httpx.Client) -> httpx.Client:
    """A client of the gateway; the recorded calls of its services are cleared."""
    platform.reset()
    return client
