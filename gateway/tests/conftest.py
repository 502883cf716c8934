"""One gateway for the session, and one that a test may break."""

from collections.abc import Iterator

import httpx
import pytest

from .running import Gateway, Tokens, Track, gateway


@pytest.fixture(scope="session")
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture(scope="session")
def platform(tokens: Tokens, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    track = Track()
    with gateway(tokens, track.port, tmp_path_factory.mktemp("platform")) as running:
        yield running
    track.stop()


@pytest.fixture
def api(platform: Gateway) -> Iterator[httpx.Client]:
    for service in (*platform.services.values(), platform.second_worker):
        service.reset()
    with httpx.Client(base_url=platform.url, timeout=20) as client:
        yield client
