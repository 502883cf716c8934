"""Signing up, in and out, through the stub."""

from dataclasses import replace
from uuid import UUID, uuid4

import grpc
import jwt
import pytest
from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc
from adplatform.options.v1.options_pb2 import Permission
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo
from grpc_status import rpc_status

from adtesting import Identities, eventually, running, stub_channel
from auth_service.__main__ import from_config
from auth_service.config import Config


@pytest.fixture
def auth(channel: grpc.Channel) -> auth_pb2_grpc.AuthServiceStub:
    return auth_pb2_grpc.AuthServiceStub(channel)


def sign_up(auth: auth_pb2_grpc.AuthServiceStub, **changes: object) -> pb.SignUpResponse:
    fields: dict[str, object] = {
        "email": f"{uuid4().hex}@example.com",
        "password": "correct horse battery",
        "name": "Ada",
        "organization_name": "Acme",
    }
    return auth.SignUp(pb.SignUpRequest(**{**fields, **changes}))


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def reason(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    info = ErrorInfo()
    for detail in rpc_status.from_call(error.value).details:
        if detail.Unpack(info):
            return info.reason
    return ""


def test_sign_up_creates_owner_without_approval_permissions(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    signed = sign_up(auth)
    profile = auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(signed.access_token))
    (membership,) = profile.memberships
    assert membership.organization_id == signed.organization.id
    assert membership.role == "owner"
    assert Permission.CAMPAIGNS_START in membership.permissions
    assert not {Permission.PAYMENTS_APPROVE, Permission.ADMIN_FULL} & set(membership.permissions)


def test_publisher_signs_up_as_publisher(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    signed = sign_up(auth, organization_kind=pb.Organization.PUBLISHER)
    profile = auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(signed.access_token))
    assert profile.memberships[0].role == "publisher"
    assert Permission.PUBLISHERS_PAYOUT in profile.memberships[0].permissions


def test_sign_up_as_platform_is_refused(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        sign_up(auth, organization_kind=pb.Organization.PLATFORM)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    bad = BadRequest()
    assert any(detail.Unpack(bad) for detail in rpc_status.from_call(refused.value).details)
    assert bad.field_violations[0].field == "organizationKind"


def test_email_signs_up_once_regardless_of_case(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    sign_up(auth, email="ada@example.com")
    with pytest.raises(grpc.RpcError) as refused:
        sign_up(auth, email="ADA@example.com")
    assert reason(refused) == "EMAIL_TAKEN"


def test_unknown_email_and_wrong_password_return_the_same_error(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    sign_up(auth, email="ada@example.com")
    answers = []
    for email in ("ada@example.com", "nobody@example.com"):
        with pytest.raises(grpc.RpcError) as refused:
            auth.LogIn(pb.LogInRequest(email=email, password="wrong horse"))
        answers.append((reason(refused), refused.value.details()))
    assert answers[0] == answers[1] == ("CREDENTIALS_INVALID", "the e-mail or the password is wrong")


def test_refresh_token_reuse_after_successor_was_used_ends_the_session(
    auth: auth_pb2_grpc.AuthServiceStub,
) -> None:
    sign_up(auth, email="ada@example.com")
    tokens = auth.LogIn(pb.LogInRequest(email="Ada@example.com", password="correct horse battery"))
    second = auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=tokens.refresh_token))
    fresh = auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=second.refresh_token))
    assert auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(fresh.access_token)).user.name == "Ada"
    for stolen in (tokens.refresh_token, fresh.refresh_token):
        with pytest.raises(grpc.RpcError) as refused:
            auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=stolen))
        assert reason(refused) == "REFRESH_TOKEN_INVALID"
    assert eventually(lambda: is_refused(auth, fresh.access_token), within_s=1.0)


def test_refresh_can_be_repeated_after_outage(auth: auth_pb2_grpc.AuthServiceStub, config: Config) -> None:
    signed = sign_up(auth)
    cut_off = replace(config, database_url="postgresql://nobody:nothing@127.0.0.1:1/auth")
    with running(from_config(cut_off)) as server, stub_channel(server) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            auth_pb2_grpc.AuthServiceStub(channel).RefreshToken(
                pb.RefreshTokenRequest(refresh_token=signed.refresh_token)
            )
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=signed.refresh_token)).access_token


@pytest.mark.parametrize("token", ["nonsense", f"{UUID(int=7).hex}.nonsense"])
def test_forged_refresh_token_is_refused(auth: auth_pb2_grpc.AuthServiceStub, token: str) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        auth.RefreshToken(pb.RefreshTokenRequest(refresh_token=token))
    assert reason(refused) == "REFRESH_TOKEN_INVALID"


def test_text_with_nul_is_invalid_argument(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        auth.LogIn(pb.LogInRequest(email="a\0@example.com", password="correct horse battery"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_access_token_is_refused_within_a_second_of_sign_out(auth: auth_pb2_grpc.AuthServiceStub) -> None:
    signed = sign_up(auth)
    assert not is_refused(auth, signed.access_token)
    auth.LogOut(pb.LogOutRequest(), metadata=bearer(signed.access_token))
    assert eventually(lambda: is_refused(auth, signed.access_token), within_s=1.0)


def is_refused(auth: auth_pb2_grpc.AuthServiceStub, token: str) -> bool:
    try:
        auth.GetProfile(pb.GetProfileRequest(), metadata=bearer(token))
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.UNAUTHENTICATED
    return False


def test_access_service_serves_services_only(
    auth: auth_pb2_grpc.AuthServiceStub, channel: grpc.Channel, identities: Identities
) -> None:
    access = auth_pb2_grpc.AccessServiceStub(channel)
    signed = sign_up(auth)
    claims = jwt.decode(signed.access_token, options={"verify_signature": False})
    request = pb.GetAccessRequest(
        user_id=claims["sub"], session_id=claims["sid"], organization_id=signed.organization.id
    )
    with pytest.raises(grpc.RpcError) as refused:
        access.GetAccess(request, metadata=bearer(signed.access_token))
    assert reason(refused) == "SERVICE_NOT_ALLOWED"
    service = identities.service_headers("campaign-service")
    answer = access.GetAccess(request, metadata=service)
    assert (answer.member, answer.email_unverified) == (True, True)
    assert Permission.CAMPAIGNS_CREATE in answer.permissions
    request.organization_id = str(UUID(int=7))
    assert access.GetAccess(request, metadata=service) == pb.GetAccessResponse()


def test_organization_name_is_readable_by_payment_service(
    auth: auth_pb2_grpc.AuthServiceStub, channel: grpc.Channel, identities: Identities
) -> None:
    access = auth_pb2_grpc.AccessServiceStub(channel)
    signed = sign_up(auth)
    request = pb.GetOrganizationNameRequest(organization_id=signed.organization.id)
    for headers in (bearer(signed.access_token), identities.service_headers("campaign-service")):
        with pytest.raises(grpc.RpcError) as refused:
            access.GetOrganizationName(request, metadata=headers)
        assert reason(refused) == "SERVICE_NOT_ALLOWED"
    service = identities.service_headers("payment-service")
    assert access.GetOrganizationName(request, metadata=service).name == signed.organization.name != ""
    request.organization_id = str(UUID(int=7))
    assert access.GetOrganizationName(request, metadata=service).name == ""
