"""Users who sign up, in and out through the stub, and read their mail."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event
from typing import Literal
from uuid import uuid4

import grpc
import psycopg
import pytest
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc
from argon2 import PasswordHasher
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from grpc_status import rpc_status

from adtesting import eventually, running, stub_channel
from adtesting.auth import FakeMailer
from auth_service.__main__ import from_config
from auth_service.config import Config
from auth_service.mail.model import Mail
from auth_service.password_hashing import Argon2Hasher

Metadata = Sequence[tuple[str, str]]
PASSWORD = "correct horse battery"


class Refusal:
    """An error as a client sees it."""

    def __init__(self) -> None:
        self.code = grpc.StatusCode.OK
        self.message = ""
        self.reason = ""
        self.violations: dict[str, str] = {}
        self.wait_s = 0.0

    def fill(self, error: grpc.RpcError) -> None:
        self.code, self.message = error.code(), error.details()
        info, bad, retry = ErrorInfo(), BadRequest(), RetryInfo()
        for detail in rpc_status.from_call(error).details:
            if detail.Unpack(info):
                self.reason = info.reason
            elif detail.Unpack(bad):
                self.violations = {one.field: one.description for one in bad.field_violations}
            elif detail.Unpack(retry):
                self.wait_s = retry.retry_delay.ToTimedelta().total_seconds()


class People:
    """Makes calls as users."""

    def __init__(self, auth: auth_pb2_grpc.AuthServiceStub, mailer: FakeMailer) -> None:
        self.auth = auth
        self._mailer = mailer

    def sign_up(self, email: str = "", **changes: object) -> pb.SignUpResponse:
        fields: dict[str, object] = {"email": email or f"{uuid4().hex}@example.com", "password": PASSWORD}
        if "firebase_id_token" in changes:
            fields = {}
        if "invitation_token" not in changes:
            fields["organization_name"] = "Acme"
        return self.auth.SignUp(pb.SignUpRequest(**{"name": "Ada", **fields, **changes}))

    def verified(self, email: str = "", **changes: object) -> pb.SignUpResponse:
        """A new user who opened the link in the mail in the browser in which they signed up."""
        signed = self.sign_up(email, **changes)
        self.verify(signed.user.email, signed.access_token)
        return signed

    def verify(self, email: str, access_token: str = "") -> pb.VerifyEmailResponse:
        """Opens the link in the newest verification mail, in a browser with this access token, or with none."""
        request = pb.VerifyEmailRequest(token=self.token(email, "verify-email"))
        return self.auth.VerifyEmail(request, metadata=self.bearer(access_token) if access_token else [])

    def log_in(self, email: str, password: str = PASSWORD, *, address: str = "") -> pb.LogInResponse:
        metadata = [("x-forwarded-for", address)] if address else []
        return self.auth.LogIn(pb.LogInRequest(email=email, password=password), metadata=metadata)

    def bearer(self, access_token: str, **more: str) -> Metadata:
        return [("authorization", f"Bearer {access_token}"), *((name.replace("_", "-"), more[name]) for name in more)]

    def profile(self, access_token: str) -> pb.Profile:
        return self.auth.GetProfile(pb.GetProfileRequest(), metadata=self.bearer(access_token))

    def is_out(self, access_token: str) -> bool:
        try:
            self.profile(access_token)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAUTHENTICATED
        return False

    def mails(self, email: str) -> list[Mail]:
        return [mail for mail in self._mailer.sent if mail.recipient == email]

    def subjects(self, email: str) -> list[str]:
        return [mail.subject for mail in self.mails(email)]

    def token(self, email: str, page: str) -> str:
        """The token in the newest mail to this e-mail with a link to this page; removes the mail."""

        def found() -> str:
            for mail in reversed(self._mailer.sent):
                link = re.search(rf"https://app\.example\.com/{page}\?token=(\S+)", mail.text)
                if mail.recipient == email and link:
                    self._mailer.sent.remove(mail)
                    return link[1]
            return ""

        return eventually(found)


@contextmanager
def _refused() -> Iterator[Refusal]:
    refusal = Refusal()
    with pytest.raises(grpc.RpcError) as raised:
        yield refusal
    refusal.fill(raised.value)


@pytest.fixture
def refused() -> Callable[[], "contextmanager[Refusal]"]:
    """`with refused() as refusal:` asserts that its call fails; afterwards `refusal` has the error."""
    return _refused


@pytest.fixture
def unverify(database_url: str) -> Callable[[str], None]:
    """Marks an address as unverified, as in accounts of an earlier release, which had keys and members already."""

    def change(email: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute("UPDATE users SET email_verified_at = NULL WHERE email = %s", [email])

    return change


@pytest.fixture
def people(channel: grpc.Channel, mailer: FakeMailer) -> People:
    return People(auth_pb2_grpc.AuthServiceStub(channel), mailer)


class FixedTime(PasswordHasher):
    """Takes 0.1 s to verify a password, even on a busy machine."""

    def __init__(self) -> None:
        super().__init__(time_cost=1, memory_cost=1024)

    def verify(self, hash: str | bytes, password: str | bytes) -> Literal[True]:
        Event().wait(0.1)
        return super().verify(hash, password)


@pytest.fixture
def busy(config: Config, mailer: FakeMailer) -> Iterator[People]:
    """Users of a server with as many threads as in production."""
    many = replace(config, common=replace(config.common, rpc=replace(config.common.rpc, threads=64)))
    with running(from_config(many, Argon2Hasher(FixedTime()))) as server, stub_channel(server) as channel:
        yield People(auth_pb2_grpc.AuthServiceStub(channel), mailer)
