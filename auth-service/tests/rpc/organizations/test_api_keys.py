"""API keys: shown once, limited to their user's permissions, and revoked with the membership."""

import hashlib
from datetime import timedelta
from ipaddress import ip_network
from uuid import UUID

import grpc
import pytest
from adplatform.auth.v1 import api_keys_pb2 as pb
from adplatform.auth.v1 import organizations_pb2, roles_pb2
from adplatform.options.v1.options_pb2 import Permission
from google.protobuf.timestamp_pb2 import Timestamp
from sqlalchemy import bindparam, select

from adlib import permissions
from adlib.access import api_key_revoked
from adlib.clock import timestamp
from adlib.db import Query
from adlib.errors import LimitReached
from adlib.idempotency import Idempotency
from adlib.identity import ApiKey
from auth_service.api_keys.model import MAX_LIVE_KEYS
from auth_service.api_keys.service import NewApiKey
from auth_service.authorization.model import RightsExceeded
from auth_service.tables import api_keys
from auth_service.tenancy import store

SCOPE = [Permission.CAMPAIGNS_READ, Permission.ORGANIZATIONS_UPDATE, Permission.USERS_READ]


def make(stubs, metadata, codes=SCOPE, **fields):
    request = pb.CreateApiKeyRequest(name="Reports", permissions=codes, **fields)
    return stubs.keys.CreateApiKey(request, metadata=metadata)


def by_key(secret, **headers):
    return [("x-api-key", secret), *((name.replace("_", "-"), value) for name, value in headers.items())]


def listed(stubs, metadata):
    return list(stubs.keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=metadata).api_keys)


def test_api_key_is_created_used_and_revoked_and_its_text_is_never_stored(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    made = make(stubs, by_owner, allowed_cidrs=["10.0.0.0/8", "2001:db8::/32"])
    assert made.secret.startswith(made.api_key.prefix)
    assert list(made.api_key.allowed_cidrs) == ["10.0.0.0/8", "2001:db8::/32"]
    assert env.notifications(owner) == ["API_KEY_CREATED"]
    row = env.db.one(Query(select(api_keys).where(api_keys.c.id == bindparam("id"))), id=made.api_key.id)
    assert bytes(row.hash) == hashlib.sha256(made.secret.encode()).digest()
    assert made.secret not in repr(row)
    from_inside = by_key(made.secret, x_forwarded_for="10.9.9.9")
    stubs.organizations.ListUsers(organizations_pb2.ListUsersRequest(), metadata=from_inside)
    (one,) = listed(stubs, by_owner)
    assert one.HasField("last_use_time")
    one.ClearField("last_use_time")
    assert one == made.api_key
    revoke = pb.RevokeApiKeyRequest(api_key_id=made.api_key.id)
    stubs.keys.RevokeApiKey(revoke, metadata=by_owner)
    assert env.invalidations.send_pending() > 0
    assert env.shared.exists(api_key_revoked(hashlib.sha256(made.secret.encode()).digest()).key)
    assert not listed(stubs, by_owner)
    with refused() as refusal:
        stubs.organizations.ListUsers(organizations_pb2.ListUsersRequest(), metadata=from_inside)
    assert refusal.info.reason == "API_KEY_INVALID"
    with refused() as refusal:
        stubs.keys.RevokeApiKey(revoke, metadata=by_owner)
    assert (refusal.info.reason, refusal.code) == ("API_KEY_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


def test_repeated_request_creates_no_second_api_key_and_returns_no_secret(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme, idempotency_key="once")
    first, again = make(stubs, by_owner), make(stubs, by_owner)
    assert first.secret
    assert (again.secret, again.api_key) == ("", first.api_key)
    assert len(listed(stubs, by_owner)) == 1


def test_api_key_cannot_exceed_permissions_of_its_creator(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(name="Keeper", permissions=SCOPE), metadata=env.by(owner, acme)
    )
    keeper = env.add_member(acme, role.code)
    for someone, code in (
        (keeper, Permission.CAMPAIGNS_CREATE),
        (owner, Permission.PAYMENTS_APPROVE),
        (owner, Permission.ADMIN_FULL),
    ):
        with refused() as refusal:
            make(stubs, env.by(someone, acme), [Permission.CAMPAIGNS_READ, code])
        assert (refusal.info.reason, refusal.info.metadata["missing"]) == ("RIGHTS_EXCEEDED", Permission.Name(code))
    assert make(stubs, env.by(keeper, acme)).secret


def test_api_key_cannot_exceed_its_own_permissions(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    bob = env.add_member(acme, "member")
    scope = [Permission.ORGANIZATIONS_UPDATE, Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.USERS_DELETE]
    key = by_key(make(stubs, env.by(owner, acme), scope).secret)
    for call, request in (
        (stubs.keys.CreateApiKey, pb.CreateApiKeyRequest(name="x", permissions=[Permission.CAMPAIGNS_READ])),
        (stubs.roles.CreateRole, roles_pb2.CreateRoleRequest(name="x", permissions=[Permission.CAMPAIGNS_READ])),
        (stubs.organizations.InviteUser, organizations_pb2.InviteUserRequest(email="x@example.com", role="member")),
        (
            stubs.organizations.UpdateUser,
            organizations_pb2.UpdateUserRequest(user_id=str(bob.id), role="manager"),
        ),
        (stubs.organizations.RemoveUser, organizations_pb2.RemoveUserRequest(user_id=str(bob.id))),
    ):
        with refused() as refusal:
            call(request, metadata=key)
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
        assert "CAMPAIGNS_READ" in refusal.info.metadata["missing"]
    with refused() as refusal:
        stubs.organizations.TransferOwnership(
            organizations_pb2.TransferOwnershipRequest(organization_id=str(acme), user_id=str(bob.id)), metadata=key
        )
    assert refusal.info.reason == "OWNER_REQUIRED"


def test_child_api_key_is_within_expiry_and_networks_of_its_parent(env):
    owner = env.add_user()
    acme = env.add_organization(owner)
    later = env.clock.now() + timedelta(days=1)
    mask = permissions.mask(SCOPE)
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    in_person = env.caller(owner, acme)
    first, _ = env.keys.create(in_person, NewApiKey("x", SCOPE, later, networks), unrepeated(in_person))
    caller = env.caller(owner, acme, ApiKey(UUID(first.id), owner.id, acme, mask, later, networks))

    def make(expires_at, *networks):
        new = NewApiKey("x", [Permission.CAMPAIGNS_READ], expires_at, [ip_network(one) for one in networks])
        return env.keys.create(caller, new, unrepeated(caller))

    for expires_at, networks in (
        (None, ["10.1.0.0/16"]),
        (later + timedelta(seconds=1), ["10.1.0.0/16"]),
        (later, []),
        (later, ["10.1.0.0/16", "11.0.0.0/16"]),
        (later, ["0.0.0.0/0"]),
        (later, ["2001::/16"]),
    ):
        with pytest.raises(RightsExceeded):
            make(expires_at, *networks)
    assert make(later, "10.1.0.0/16", "2001:db8:1::/48")[1]


def test_revoking_api_key_revokes_its_descendants(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    first, other = make(stubs, by_owner), make(stubs, by_owner)
    second = make(stubs, by_key(first.secret))
    third = make(stubs, by_key(second.secret))
    stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=first.api_key.id), metadata=by_owner)
    assert [one.id for one in listed(stubs, by_owner)] == [other.api_key.id]
    for key in (second, third):
        with refused() as refusal:
            stubs.keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=by_key(key.secret))
        assert refusal.info.reason == "API_KEY_INVALID"


def test_api_keys_of_removed_member_stay_revoked(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    other = env.add_member(acme, "owner")
    key = by_key(make(stubs, env.by(other, acme)).secret)
    own = by_key(make(stubs, env.by(owner, acme)).secret)
    env.members.remove(env.caller(owner, acme), other.id)
    assert [one.user_id for one in listed(stubs, own)] == [str(owner.id)]
    with env.db.transaction() as tx:
        store.add_member(tx, acme, other.id, "owner", env.clock.now())
    with refused() as refusal:
        listed(stubs, key)
    assert refusal.info.reason == "API_KEY_INVALID"


def test_api_key_is_limited_to_current_permissions_of_its_user(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    other = env.add_member(acme, "owner")
    key = by_key(make(stubs, env.by(other, acme)).secret)
    assert listed(stubs, key)
    env.members.change_role(env.caller(owner, acme), other.id, "manager")
    with refused() as refusal:
        listed(stubs, key)
    assert refusal.info.reason == "PERMISSION_MISSING"


def test_api_keys_of_another_organization_are_not_found(env, stubs, refused):
    owner, stranger = env.add_user(), env.add_user("Eve")
    acme, other = env.add_organization(owner), env.add_organization(stranger)
    made = make(stubs, env.by(owner, acme))
    assert not listed(stubs, env.by(stranger, other))
    with refused() as refusal:
        stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=made.api_key.id), metadata=env.by(stranger, other))
    assert refusal.info.reason == "API_KEY_NOT_FOUND"
    assert listed(stubs, env.by(owner, acme))


@pytest.mark.parametrize(
    "fields",
    [
        {"permissions": []},
        {"permissions": [0]},
        {"permissions": [999]},
        {"name": " "},
        {"expire_time": Timestamp(seconds=1)},
        {"allowed_cidrs": ["10.0.0.1"]},
        {"allowed_cidrs": ["everywhere"]},
        {"allowed_cidrs": ["10.0.0.0/33"]},
        {"allowed_cidrs": ["10.1.2.3/8"]},
    ],
)
def test_malformed_api_key_is_refused_by_field(env, stubs, refused, fields):
    owner = env.add_user()
    acme = env.add_organization(owner)
    request = pb.CreateApiKeyRequest(**{"name": "x", "permissions": [Permission.CAMPAIGNS_READ], **fields})
    with refused() as refusal:
        stubs.keys.CreateApiKey(request, metadata=env.by(owner, acme))
    assert refusal.info.reason == "INVALID_FIELD"


def test_organization_has_at_most_a_hundred_live_api_keys(env):
    owner = env.add_user()
    acme = env.add_organization(owner)
    caller = env.caller(owner, acme)
    soon = env.clock.now() + timedelta(hours=1)
    new = NewApiKey("x", [Permission.CAMPAIGNS_READ], soon, [])
    for _ in range(MAX_LIVE_KEYS):
        env.keys.create(caller, new, unrepeated(caller))
    with pytest.raises(LimitReached):
        env.keys.create(caller, new, unrepeated(caller))
    env.clock.at = soon
    assert env.keys.create(caller, new, unrepeated(caller))[1]


def test_api_keys_are_listed_in_pages_newest_first(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    made = [make(stubs, by_owner, expire_time=timestamp(env.clock.now() + timedelta(days=1))) for _ in range(3)]
    first = stubs.keys.ListApiKeys(pb.ListApiKeysRequest(page_size=2), metadata=by_owner)
    second = stubs.keys.ListApiKeys(
        pb.ListApiKeysRequest(page_size=2, page_token=first.next_page_token), metadata=by_owner
    )
    seen = [one.id for one in (*first.api_keys, *second.api_keys)]
    assert seen == [one.api_key.id for one in reversed(made)]
    assert not second.next_page_token


def unrepeated(caller):
    request = pb.CreateApiKeyRequest()
    return Idempotency(caller.organization_id, "test", "", request, lambda key: pb.ApiKey(id=str(key.id)), pb.ApiKey)
