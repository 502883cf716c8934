"""A session or an API key that ends while its call is under way makes nothing that would outlive it."""

from typing import Any
from uuid import UUID

import pytest
from adplatform.auth.v1 import api_keys_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adlib.access import SessionEnded
from adlib.errors import ApiKeyInvalid
from adlib.identity import ApiKey
from auth_service.organizations.acting import act
from auth_service.sessions import store as sessions


def test_a_session_that_has_ended_meanwhile_changes_nothing(town: Any) -> None:
    owner = town.someone()
    caller = town.caller(owner, town.organization(owner))
    with town.db.transaction() as tx:
        assert act(tx, caller).user_id == owner.id
        sessions.end(tx, owner.person.session_id, town.clock.now())
    with town.db.transaction() as tx, pytest.raises(SessionEnded):
        act(tx, caller)


def test_a_key_that_was_revoked_meanwhile_changes_nothing(town: Any, stubs: Any) -> None:
    owner = town.someone()
    organization = town.organization(owner)
    request = pb.CreateApiKeyRequest(name="program", permissions=[Permission.USERS_CREATE])
    made = stubs.keys.CreateApiKey(request, metadata=town.by(owner, organization)).api_key
    key = ApiKey(UUID(made.id), owner.id, organization, town.caller(owner, organization).permissions)
    caller = town.caller(owner, organization, key)
    with town.db.transaction() as tx:
        assert act(tx, caller).user_id == owner.id
    stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=made.id), metadata=town.by(owner, organization))
    with town.db.transaction() as tx, pytest.raises(ApiKeyInvalid):
        act(tx, caller)
