"""Authorization of calls by tokens and by the access that auth-service grants."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from adplatform.auth.v1 import auth_pb2, auth_pb2_grpc
from jwt import PyJWK
from typing_extensions import override

from adlib import identity, permissions
from adlib.access import NO_ACCESS, Access, AccessSource, CachedAccess, SessionEnded, api_key_from_pb
from adlib.identity import NO_SESSION, ApiKey, CachedKeys, Person, Verifier
from adlib.redis_clients import connect_redis_for_calls
from adlib.rpc import Remote
from adlib.service.settings import CommonSettings


@dataclass(frozen=True, slots=True)
class Authorization:
    """Verifies tokens and looks up the rights of callers."""

    verifier: Verifier
    access: AccessSource


class RemoteAccess(AccessSource):
    """An access source that calls auth-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = auth_pb2_grpc.AccessServiceStub(remote.channel)

    @override
    def access(self, person: Person, organization_id: UUID | None) -> Access:
        request = auth_pb2.GetAccessRequest(
            user_id=str(person.user_id),
            session_id="" if person.session_id == NO_SESSION else str(person.session_id),
            organization_id=str(organization_id or ""),
        )
        answer = self._remote.call(self._stub.GetAccess, request)
        if answer.session_ended:
            raise SessionEnded
        if not answer.member:
            return NO_ACCESS
        held = permissions.mask(answer.permissions)
        return Access(True, answer.organization_kind, held, email_verified=not answer.email_unverified)

    @override
    def api_key(self, hash: bytes) -> ApiKey | None:
        answer = self._remote.call(self._stub.FindApiKey, auth_pb2.FindApiKeyRequest(hash=hash))
        return api_key_from_pb(answer.api_key) if answer.HasField("api_key") else None


def remote_authorization(common: CommonSettings, auth: Remote) -> tuple[Verifier, CachedAccess]:
    """The authorization by calls to auth-service, for all other services; the caller closes the CachedAccess."""
    keys = auth_pb2_grpc.AuthServiceStub(auth.channel)

    def fetch() -> Mapping[str, PyJWK]:
        return identity.parse_jwks(auth.call(keys.GetJwks, auth_pb2.GetJwksRequest()).data.decode())

    verifier = common.verifier(CachedKeys(fetch))
    return verifier, CachedAccess(RemoteAccess(auth), connect_redis_for_calls(common.redis_url))
