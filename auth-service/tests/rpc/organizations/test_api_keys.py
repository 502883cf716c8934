"""API keys: shown once, never stronger than who makes them, and gone with them."""

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
from auth_service.api_keys.model import MAX_LIVE
from auth_service.api_keys.service import NewApiKey
from auth_service.organizations import store
from auth_service.roles.model import RightsExceeded
from auth_service.tables import api_keys

SCOPE = [Permission.CAMPAIGNS_READ, Permission.ORGANIZATIONS_UPDATE, Permission.USERS_READ]


def make(stubs, metadata, codes=SCOPE, **fields):
    request = pb.CreateApiKeyRequest(name="Reports", permissions=codes, **fields)
    return stubs.keys.CreateApiKey(request, metadata=metadata)


def by_key(secret, **headers):
    return [("x-api-key", secret), *((name.replace("_", "-"), value) for name, value in headers.items())]


def listed(stubs, metadata):
    return list(stubs.keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=metadata).api_keys)


def test_a_key_is_made_used_and_revoked_and_its_text_is_nowhere(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    made = make(stubs, by_owner, allowed_cidrs=["10.0.0.0/8", "2001:db8::/32"])
    assert made.secret.startswith(made.api_key.prefix)
    assert list(made.api_key.allowed_cidrs) == ["10.0.0.0/8", "2001:db8::/32"]
    assert town.notices(owner) == ["API_KEY_CREATED"]
    row = town.db.one(Query(select(api_keys).where(api_keys.c.id == bindparam("id"))), id=made.api_key.id)
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
    assert town.invalidations.push() > 0
    assert town.shared.exists(api_key_revoked(hashlib.sha256(made.secret.encode()).digest()).key)
    assert not listed(stubs, by_owner)
    with refused() as refusal:
        stubs.organizations.ListUsers(organizations_pb2.ListUsersRequest(), metadata=from_inside)
    assert refusal.info.reason == "API_KEY_INVALID"
    with refused() as refusal:
        stubs.keys.RevokeApiKey(revoke, metadata=by_owner)
    assert (refusal.info.reason, refusal.code) == ("API_KEY_NOT_FOUND", grpc.StatusCode.NOT_FOUND)


def test_a_repeat_makes_no_second_key_and_does_not_show_the_first_ones_text(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme, idempotency_key="once")
    first, again = make(stubs, by_owner), make(stubs, by_owner)
    assert first.secret
    assert (again.secret, again.api_key) == ("", first.api_key)
    assert len(listed(stubs, by_owner)) == 1


def test_nobody_makes_a_key_that_may_what_they_may_not(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(name="Keeper", permissions=SCOPE), metadata=town.by(owner, acme)
    )
    keeper = town.joined(acme, role.code)
    for someone, code in (
        (keeper, Permission.CAMPAIGNS_CREATE),
        (owner, Permission.PAYMENTS_APPROVE),
        (owner, Permission.ADMIN_FULL),
    ):
        with refused() as refusal:
            make(stubs, town.by(someone, acme), [Permission.CAMPAIGNS_READ, code])
        assert (refusal.info.reason, refusal.info.metadata["missing"]) == ("RIGHTS_EXCEEDED", Permission.Name(code))
    assert make(stubs, town.by(keeper, acme)).secret


def test_a_key_does_not_reach_beyond_itself_by_making_roles_members_or_keys(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    bob = town.joined(acme, "member")
    scope = [Permission.ORGANIZATIONS_UPDATE, Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.USERS_DELETE]
    key = by_key(make(stubs, town.by(owner, acme), scope).secret)
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


def test_a_key_made_by_a_key_neither_outlives_it_nor_works_where_it_does_not(town):
    owner = town.someone()
    acme = town.organization(owner)
    later = town.clock.now() + timedelta(days=1)
    mask = permissions.mask(SCOPE)
    networks = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
    in_person = town.caller(owner, acme)
    first, _ = town.keys.create(in_person, NewApiKey("x", SCOPE, later, networks), unrepeated(in_person))
    caller = town.caller(owner, acme, ApiKey(UUID(first.id), owner.id, acme, mask, later, networks))

    def make(expires_at, *networks):
        new = NewApiKey("x", [Permission.CAMPAIGNS_READ], expires_at, [ip_network(one) for one in networks])
        return town.keys.create(caller, new, unrepeated(caller))

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


def test_with_a_key_end_those_that_were_made_with_it(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    first, other = make(stubs, by_owner), make(stubs, by_owner)
    second = make(stubs, by_key(first.secret))
    third = make(stubs, by_key(second.secret))
    stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=first.api_key.id), metadata=by_owner)
    assert [one.id for one in listed(stubs, by_owner)] == [other.api_key.id]
    for key in (second, third):
        with refused() as refusal:
            stubs.keys.ListApiKeys(pb.ListApiKeysRequest(), metadata=by_key(key.secret))
        assert refusal.info.reason == "API_KEY_INVALID"


def test_the_keys_of_whoever_is_removed_are_revoked_and_stay_so(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    other = town.joined(acme, "owner")
    key = by_key(make(stubs, town.by(other, acme)).secret)
    own = by_key(make(stubs, town.by(owner, acme)).secret)
    town.members.remove(town.caller(owner, acme), other.id)
    assert [one.user_id for one in listed(stubs, own)] == [str(owner.id)]
    with town.db.transaction() as tx:
        store.add_member(tx, acme, other.id, "owner", town.clock.now())
    with refused() as refusal:
        listed(stubs, key)
    assert refusal.info.reason == "API_KEY_INVALID"


def test_a_key_may_no_more_than_its_maker_may_now(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    other = town.joined(acme, "owner")
    key = by_key(make(stubs, town.by(other, acme)).secret)
    assert listed(stubs, key)
    town.members.change_role(town.caller(owner, acme), other.id, "manager")
    with refused() as refusal:
        listed(stubs, key)
    assert refusal.info.reason == "PERMISSION_MISSING"


def test_another_organizations_keys_are_not_there(town, stubs, refused):
    owner, stranger = town.someone(), town.someone("Eve")
    acme, other = town.organization(owner), town.organization(stranger)
    made = make(stubs, town.by(owner, acme))
    assert not listed(stubs, town.by(stranger, other))
    with refused() as refusal:
        stubs.keys.RevokeApiKey(pb.RevokeApiKeyRequest(api_key_id=made.api_key.id), metadata=town.by(stranger, other))
    assert refusal.info.reason == "API_KEY_NOT_FOUND"
    assert listed(stubs, town.by(owner, acme))


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
def test_a_malformed_key_is_refused_by_field(town, stubs, refused, fields):
    owner = town.someone()
    acme = town.organization(owner)
    request = pb.CreateApiKeyRequest(**{"name": "x", "permissions": [Permission.CAMPAIGNS_READ], **fields})
    with refused() as refusal:
        stubs.keys.CreateApiKey(request, metadata=town.by(owner, acme))
    assert refusal.info.reason == "INVALID_FIELD"


def test_an_organization_has_no_more_than_a_hundred_keys_that_work(town):
    owner = town.someone()
    acme = town.organization(owner)
    caller = town.caller(owner, acme)
    soon = town.clock.now() + timedelta(hours=1)
    new = NewApiKey("x", [Permission.CAMPAIGNS_READ], soon, [])
    for _ in range(MAX_LIVE):
        town.keys.create(caller, new, unrepeated(caller))
    with pytest.raises(LimitReached):
        town.keys.create(caller, new, unrepeated(caller))
    town.clock.at = soon
    assert town.keys.create(caller, new, unrepeated(caller))[1]


def test_keys_come_in_pages_newest_first(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    made = [make(stubs, by_owner, expire_time=timestamp(town.clock.now() + timedelta(days=1))) for _ in range(3)]
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
