"""A call reaches the audit log of its organization through the outbox and the bus."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import grpc
import psycopg
import pytest
from adplatform.auth.v1 import audit_pb2 as pb
from adplatform.auth.v1 import audit_pb2_grpc, auth_pb2
from adplatform.events.v1.events_pb2 import AuditRecorded
from google.protobuf.timestamp_pb2 import Timestamp

from adtesting import eventually


@pytest.fixture
def audit(channel: grpc.Channel) -> audit_pb2_grpc.AuditServiceStub:
    return audit_pb2_grpc.AuditServiceStub(channel)


@pytest.fixture
def sql(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


class Log:
    """An organization's log, as its owner sees it."""

    def __init__(self, audit: audit_pb2_grpc.AuditServiceStub, signed: auth_pb2.SignUpResponse) -> None:
        self._audit = audit
        self._metadata = [
            ("authorization", f"Bearer {signed.access_token}"),
            ("organization-id", signed.organization.id),
        ]

    def page(self, **asked: object) -> pb.ListAuditLogsResponse:
        return self._audit.ListAuditLogs(pb.ListAuditLogsRequest(**asked), metadata=self._metadata)

    def actions(self, **asked: object) -> list[str]:
        return [one.action for one in self.page(**asked).audit_logs]

    def verify(self, start_sequence: int = 0) -> pb.VerifyAuditLogsResponse:
        request = pb.VerifyAuditLogsRequest(start_sequence=start_sequence)
        return self._audit.VerifyAuditLogs(request, metadata=self._metadata)


def test_call_is_logged_only_for_its_own_organization(people: Any, audit: audit_pb2_grpc.AuditServiceStub) -> None:
    ada, eve = people.sign_up(), people.sign_up()
    hers, others = Log(audit, ada), Log(audit, eve)
    eventually(lambda: hers.actions() and others.actions())
    (row,) = hers.page().audit_logs
    assert row.actor == AuditRecorded.PERSON
    assert row.user_id == ada.user.id
    assert (row.action, row.resource, row.outcome, row.reason) == ("auth.SignUp", "auth/signup", "OK", "")
    assert (row.sequence, len(bytes.fromhex(row.hash))) == (1, 32)
    assert UUID(row.request_id)
    verified = hers.verify()
    assert (verified.intact, verified.verified_count, verified.last_hash) == (True, 1, row.hash)
    assert others.page().audit_logs[0].user_id == eve.user.id
    assert hers.actions(user_id=eve.user.id) == []
    assert hers.actions(user_id=ada.user.id, action="auth.SignUp") == ["auth.SignUp"]
    assert hers.actions(end_time=Timestamp(seconds=1)) == []


def test_log_requires_permission_and_reveals_tampering(
    people: Any, audit: audit_pb2_grpc.AuditServiceStub, sql: psycopg.Connection
) -> None:
    signed = people.sign_up()
    sql.execute("UPDATE organizations SET kind = 'PLATFORM' WHERE id = %s", [signed.organization.id])
    platform, password = Log(audit, signed), "a wrong password"
    for email in (signed.user.email, f"{uuid4().hex}@example.com"):
        with pytest.raises(grpc.RpcError):
            people.log_in(email, password)
    tokens = people.log_in(signed.user.email)
    people.auth.RefreshToken(auth_pb2.RefreshTokenRequest(refresh_token=tokens.refresh_token))
    eventually(lambda: len(platform.actions()) == 5)
    rows = platform.page().audit_logs
    login = f"auth/login/{signed.user.id}"
    assert [(one.action, one.resource, one.outcome, one.user_id) for one in rows] == [
        ("auth.RefreshToken", "auth/refresh", "OK", signed.user.id),
        ("auth.LogIn", login, "OK", signed.user.id),
        # A registered e-mail address cannot be distinguished from an unknown one.
        ("auth.LogIn", "auth/login", "UNAUTHENTICATED", ""),
        ("auth.LogIn", "auth/login", "UNAUTHENTICATED", ""),
        ("auth.SignUp", "auth/signup", "OK", signed.user.id),
    ]
    stored = "".join(row[0] for row in sql.execute("SELECT audit_logs::text FROM audit_logs"))
    for secret in (password, tokens.refresh_token, tokens.access_token, "@example.com", "correct horse"):
        assert secret not in stored
    sql.execute("SET session_replication_role = replica")
    sql.execute("UPDATE audit_logs SET outcome = 'OK' WHERE sequence = 3")
    verified = platform.verify()
    assert (verified.intact, verified.broken_sequence, verified.verified_count) == (False, 3, 2)
    first = platform.page(page_size=2)
    assert len(first.audit_logs) == 2
    assert platform.actions(page_token=first.next_page_token) == ["auth.LogIn", "auth.LogIn", "auth.SignUp"]
