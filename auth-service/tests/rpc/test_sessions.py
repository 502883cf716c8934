"""Sessions as their people see them, also while Redis is away."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc
from adplatform.events.v1.events_pb2 import Event, UserNotified

from adlib.bus import RedisBus
from adlib.clock import instant
from adlib.service import connect_redis
from adlib.testing import eventually, running, stub_channel
from auth_service.__main__ import compose
from auth_service.config import Config


def sessions(people: Any, access_token: str) -> list[pb.Session]:
    request = pb.ListSessionsRequest()
    return list(people.auth.ListSessions(request, metadata=people.bearer(access_token)).sessions)


def revoke(people: Any, access_token: str, session_id: str) -> None:
    request = pb.RevokeSessionRequest(session_id=session_id)
    people.auth.RevokeSession(request, metadata=people.bearer(access_token))


def test_a_person_sees_their_sessions_and_ends_one_of_them(people: Any, refused: Any) -> None:
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


def test_whose_refresh_token_was_stolen_is_told(people: Any, refused: Any, redis_url: str) -> None:
    signed = people.sign_up()
    people.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token))
    with refused():
        people.auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token))

    with connect_redis(redis_url) as shared:
        subscription = RedisBus(shared).subscribe("auth", "test", "test")

        def told() -> list[UserNotified]:
            events = [Event.FromString(one.payload) for one in subscription.receive(100, 50)]
            return [event.user_notified for event in events if event.HasField("user_notified")]

        (news,) = eventually(told)
    assert (news.user_id, news.kind) == (signed.user.id, UserNotified.SESSION_STOLEN)


@pytest.fixture
def without_redis(config: Config) -> Iterator[auth_pb2_grpc.AuthServiceStub]:
    cut_off = replace(config, common=replace(config.common, redis_url="redis://127.0.0.1:1/0"))
    with running(compose(cut_off)) as server, stub_channel(server) as channel:
        yield auth_pb2_grpc.AuthServiceStub(channel)


def test_without_redis_sessions_go_on_and_end(
    people: Any, refused: Any, without_redis: auth_pb2_grpc.AuthServiceStub
) -> None:
    signed = people.sign_up("ada@example.com")
    fresh = without_redis.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token))
    without_redis.LogOut(pb.LogOutRequest(), metadata=people.bearer(fresh.access_token))
    assert eventually(lambda: people.is_out(signed.access_token), within_s=2.0)
    with refused() as refusal:
        without_redis.LogIn(pb.LogInRequest(email="ada@example.com", password="correct horse battery"))
    assert refusal.code is grpc.StatusCode.UNAVAILABLE
