"""Sessions as their users see them, also while Redis is down."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import grpc
import psycopg
import pytest
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc
from adplatform.events.v1.events_pb2 import Event, UserNotified

from adlib.bus import RedisBus
from adlib.clock import instant
from adlib.service import connect_redis
from adtesting import eventually, running, stub_channel
from auth_service.__main__ import from_config
from auth_service.config import Config


def sessions(people: Any, access_token: str) -> list[pb.Session]:
    request = pb.ListSessionsRequest()
    return list(people.auth.ListSessions(request, metadata=people.bearer(access_token)).sessions)


def revoke(people: Any, access_token: str, session_id: str) -> None:
    request = pb.RevokeSessionRequest(session_id=session_id)
    people.auth.RevokeSession(request, metadata=people.bearer(access_token))


def test_user_lists_and_revokes_own_sessions(people: Any, refused: Any) -> None:
    first = people.sign_up("ada@example.com")
    second = people.log_in("ada@example.com", address="192.0.2.7")
    eve = people.sign_up("eve@example.com")
    newest, oldest = sessions(people, second.access_token)
    assert (newest.current, oldest.current) == (True, False)
    assert (newest.address, oldest.address) == ("192.0.2.7", "")
    assert "grpc-python" in newest.user_agent
    assert instant(newest.refresh_time) == instant(newest.create_time)
    with refused() as refusal:
        revoke(people, eve.access_token, oldest.id)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "SESSION_NOT_FOUND")
    revoke(people, second.access_token, oldest.id)
    assert eventually(lambda: people.is_out(first.access_token), within_s=1.0)
    with refused() as refusal:
        people.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=first.refresh_token))
    assert refusal.reason == "REFRESH_TOKEN_INVALID"
    with refused() as refusal:
        revoke(people, second.access_token, oldest.id)
    assert refusal.reason == "SESSION_NOT_FOUND"
    assert [one.id for one in sessions(people, second.access_token)] == [newest.id]


def refresh(people: Any, refresh_token: str) -> pb.RefreshTokenResponse:
    return people.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=refresh_token))


@pytest.mark.parametrize("tabs", [2, 20])
def test_concurrently_refreshing_tabs_stay_signed_in(people: Any, tabs: int) -> None:
    signed = people.sign_up()
    ready = threading.Barrier(tabs)

    def tab(_: int) -> pb.RefreshTokenResponse:
        ready.wait()
        return refresh(people, signed.refresh_token)

    with ThreadPoolExecutor(tabs) as threads:
        answers = list(threads.map(tab, range(tabs)))
    (shared,) = {answer.refresh_token for answer in answers}
    assert not any(people.is_out(answer.access_token) for answer in answers)
    # Both tabs refresh again, one after the other, and a third time.
    second = refresh(people, shared)
    assert refresh(people, shared).refresh_token == second.refresh_token
    assert not people.is_out(refresh(people, second.refresh_token).access_token)
    (session,) = sessions(people, signed.access_token)
    assert session.current


def test_refresh_can_be_repeated_for_thirty_seconds(people: Any, refused: Any, database_url: str) -> None:
    signed = people.sign_up()
    first = refresh(people, signed.refresh_token)
    later(database_url, 20)
    assert refresh(people, signed.refresh_token).refresh_token == first.refresh_token
    # The 30 s start with the first use, not the last.
    later(database_url, 11)
    with refused() as refusal:
        refresh(people, signed.refresh_token)
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAUTHENTICATED, "REFRESH_TOKEN_INVALID")
    with refused() as refusal:
        refresh(people, first.refresh_token)
    assert refusal.reason == "REFRESH_TOKEN_INVALID"
    assert eventually(lambda: people.is_out(first.access_token), within_s=1.0)


def test_refresh_cannot_be_repeated_after_sign_out(people: Any, refused: Any) -> None:
    signed = people.sign_up()
    fresh = refresh(people, signed.refresh_token)
    people.auth.LogOut(pb.LogOutRequest(), metadata=people.bearer(fresh.access_token))
    for token in (signed.refresh_token, fresh.refresh_token):
        with refused() as refusal:
            refresh(people, token)
        assert refusal.reason == "REFRESH_TOKEN_INVALID"


def later(database_url: str, seconds: int) -> None:
    """Moves the time of use of every refresh token into the past by this duration."""
    with psycopg.connect(database_url) as db:
        db.execute("UPDATE refresh_tokens SET used_at = used_at - %s * interval '1 s'", [seconds])


def test_reuse_of_refresh_token_notifies_user(people: Any, refused: Any, redis_url: str, database_url: str) -> None:
    signed = people.sign_up()
    refresh(people, signed.refresh_token)
    later(database_url, 31)
    with refused():
        refresh(people, signed.refresh_token)

    with connect_redis(redis_url) as shared:
        subscription = RedisBus(shared).subscribe("auth", "test", "test")

        def received() -> list[UserNotified]:
            events = [Event.FromString(one.payload) for one in subscription.receive(100, 50)]
            return [event.user_notified for event in events if event.HasField("user_notified")]

        (notified,) = eventually(received)
    assert (notified.user_id, notified.kind) == (signed.user.id, UserNotified.SESSION_STOLEN)
    assert notified.body.startswith("A refresh token of it was used again after it had been replaced")


@pytest.fixture
def without_redis(config: Config) -> Iterator[auth_pb2_grpc.AuthServiceStub]:
    cut_off = replace(config, common=replace(config.common, redis_url="redis://127.0.0.1:1/0"))
    with running(from_config(cut_off)) as server, stub_channel(server) as channel:
        yield auth_pb2_grpc.AuthServiceStub(channel)


def test_sessions_refresh_and_end_without_redis(
    people: Any, refused: Any, without_redis: auth_pb2_grpc.AuthServiceStub
) -> None:
    signed = people.sign_up("ada@example.com")
    fresh = without_redis.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token))
    without_redis.LogOut(pb.LogOutRequest(), metadata=people.bearer(fresh.access_token))
    assert eventually(lambda: people.is_out(signed.access_token), within_s=2.0)
    with refused() as refusal:
        without_redis.LogIn(pb.LogInRequest(email="ada@example.com", password="correct horse battery"))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
