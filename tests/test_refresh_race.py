"""Concurrent refreshes of one session by two browser tabs, through the gateway."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from adctl.client import Client, Refused
from adctl.state import State

pytestmark = pytest.mark.xdist_group("platform")


def refresh(platform: State, token: str) -> Any:
    return Client(platform.gateway_url).post("/auth/refresh", {"refreshToken": token})


def profile(platform: State, access_token: str) -> Any:
    return Client(platform.gateway_url, token=access_token).get("/auth/profile")


def test_concurrent_refreshes_stay_signed_in_and_a_late_one_ends_the_session(platform: State) -> None:
    signed = Client(platform.gateway_url).sign_up(
        email=f"{uuid4().hex}@example.com", password="correct horse battery", name="Ada", organizationName="Acme"
    )
    token = signed["refreshToken"]
    for _ in range(5):
        ready = threading.Barrier(2)

        def tab(_: int, token: str = token, ready: threading.Barrier = ready) -> Any:
            ready.wait()
            return refresh(platform, token)

        with ThreadPoolExecutor(2) as tabs:
            answers = list(tabs.map(tab, range(2)))
        for answer in answers:
            assert profile(platform, answer["accessToken"])["user"]["id"] == signed["user"]["id"]
        (successor,) = {answer["refreshToken"] for answer in answers}
        replaced, token = token, successor
    refresh(platform, token)
    # Once the successor is in use, a caller with its predecessor has a stolen copy.
    for late in (replaced, token):
        with pytest.raises(Refused) as refused:
            refresh(platform, late)
        assert (refused.value.status, refused.value.reason) == (401, "REFRESH_TOKEN_INVALID")
