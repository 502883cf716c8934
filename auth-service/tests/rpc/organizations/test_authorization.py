"""A session or an API key that ends during a call cannot create anything that would outlive it."""

from typing import Any
from uuid import UUID

import pytest
from adplatform.auth.v1 import api_keys_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adlib.access import SessionEnded
from adlib.errors import ApiKeyInvalid
from adlib.identity import ApiKey
from auth_service.authorization.service import authorize
from auth_service.sessions import store as sessions


def test_session_ended_during_call_cannot_make_changes(env: Any) -> None:
    owner = env.add_user()
    caller = env.caller(owner, env.add_organization(owner))
    with env.db.transaction() as tx:
        assert authorize(tx, caller).user_id == owner.id
        sessions.end(tx, owner.person.session_id, env.clock.now())
    with env.db.transaction() as tx, pytest.raises(SessionEnded):
        authorize(tx, caller)


def test_api_key_revoked_during_call_cannot_make_changes(env: Any, stubs: Any) -> None:
    owner = env.add_user()
    organization = env.add_organization(owner)
    request = pb.CreateApiKeyRequest(name="program", permissions=[Permission.USERS_CREATE])
    made = stubs.keys.CreateApiKey(request, metadata=env.by(owner, organization)).api_key
    key = ApiKey(UUID(made.id), owner.id, organization, env.caller(owner, organization).permissions)
    caller = env.caller(owner, organization, key)
    with env.db.transaction() as tx:
        assert authorize(tx, caller).user_id == owner.id
    stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=made.id), metadata=env.by(owner, organization))
    with env.db.transaction() as tx, pytest.raises(ApiKeyInvalid):
        authorize(tx, caller)
