"""ApiKeyService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import api_keys_pb2 as pb

from adlib.clock import instant, timestamp
from adlib.rpc import Call
from auth_service.api_keys.model import ApiKey, parse_networks
from auth_service.api_keys.service import ApiKeyService, NewApiKey


class ApiKeyServicer:
    """ApiKeyService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["ApiKeyService"]

    def __init__(self, api_keys: ApiKeyService) -> None:
        self._api_keys = api_keys

    def CreateApiKey(self, request: pb.CreateApiKeyRequest, call: Call) -> pb.CreateApiKeyResponse:
        new = NewApiKey(
            name=request.name,
            permissions=request.permissions,
            expires_at=instant(request.expire_time) if request.HasField("expire_time") else None,
            networks=parse_networks(request.allowed_cidrs),
        )
        # The response that is stored for repeated requests has no secret.
        idempotency = call.idempotency(request, _created, pb.CreateApiKeyResponse)
        answer, secret = self._api_keys.create(call.caller, new, idempotency)
        answer.secret = secret
        return answer

    def ListApiKeys(self, request: pb.ListApiKeysRequest, call: Call) -> pb.ListApiKeysResponse:
        found = self._api_keys.list_page(call.caller, call.page(request))
        return pb.ListApiKeysResponse(
            api_keys=[_api_key(one) for one in found.rows], next_page_token=found.next_page_token
        )

    def RevokeApiKey(self, request: pb.RevokeApiKeyRequest, call: Call) -> pb.RevokeApiKeyResponse:
        self._api_keys.revoke(call.caller, UUID(request.api_key_id))
        return pb.RevokeApiKeyResponse()


def _created(key: ApiKey) -> pb.CreateApiKeyResponse:
    return pb.CreateApiKeyResponse(api_key=_api_key(key))


def _api_key(key: ApiKey) -> pb.ApiKey:
    return pb.ApiKey(
        id=str(key.id),
        name=key.name,
        prefix=key.prefix,
        permissions=sorted(key.permissions),
        user_id=str(key.user_id),
        create_time=timestamp(key.created_at),
        expire_time=timestamp(key.expires_at) if key.expires_at else None,
        last_use_time=timestamp(key.last_used_at) if key.last_used_at else None,
        allowed_cidrs=[str(network) for network in key.networks],
    )
