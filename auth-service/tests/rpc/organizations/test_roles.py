"""Custom roles, and explanations of permissions."""

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2, organizations_pb2
from adplatform.auth.v1 import roles_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adlib import permissions
from adlib.errors import AppError
from adlib.idempotency import Idempotency
from adlib.identity import ApiKey
from adlib.ids import new_id
from auth_service.authorization.model import Role
from auth_service.roles import store

BUYING = [Permission.CAMPAIGNS_READ, Permission.CAMPAIGNS_CREATE]
Explained = pb.ExplainPermissionResponse


def create(stubs, metadata, name="Buyer", codes=BUYING):
    return stubs.roles.CreateRole(
        pb.CreateRoleRequest(name=name, description="Buys", permissions=codes), metadata=metadata
    )


def update(stubs, metadata, code, codes, name="Buyer"):
    return stubs.roles.UpdateRole(pb.UpdateRoleRequest(code=code, name=name, permissions=codes), metadata=metadata)


def test_custom_role_is_created_assigned_changed_and_deleted_once_unused(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    role = create(stubs, by_owner)
    assert list(role.permissions) == sorted(BUYING)
    assert list(role.organization_kinds) == [auth_pb2.Organization.ADVERTISER]
    bob = env.add_member(acme, role.code)
    assert env.permissions(bob, acme) == set(BUYING)
    update(stubs, by_owner, role.code, [Permission.REPORTS_READ], name="Reader")
    assert env.permissions(bob, acme) == {Permission.REPORTS_READ}
    delete = pb.DeleteRoleRequest(code=role.code)
    with refused() as refusal:
        stubs.roles.DeleteRole(delete, metadata=by_owner)
    assert (refusal.info.reason, refusal.code) == ("ROLE_IN_USE", grpc.StatusCode.FAILED_PRECONDITION)
    env.members.remove(env.caller(owner, acme), bob.id)
    stubs.roles.DeleteRole(delete, metadata=by_owner)
    with refused() as refusal:
        stubs.roles.DeleteRole(delete, metadata=by_owner)
    assert refusal.info.reason == "ROLE_NOT_FOUND"


def test_role_of_open_invitation_cannot_be_deleted(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    role = create(stubs, by_owner)
    invite = organizations_pb2.InviteUserRequest(email=env.new_email, role=role.code)
    stubs.organizations.InviteUser(invite, metadata=by_owner)
    with refused() as refusal:
        stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=role.code), metadata=by_owner)
    assert refusal.info.reason == "ROLE_IN_USE"
    new = env.add_user("New", env.new_email)
    env.acceptance.join(env.last_token(), new.id, new.person.session_id)
    env.members.change_role(env.caller(owner, acme), new.id, "member")
    stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=role.code), metadata=by_owner)


@pytest.mark.parametrize("code", ["owner", "admin", "member"])
def test_built_in_roles_cannot_be_changed(env, stubs, refused, code):
    owner = env.add_user()
    acme = env.add_organization(owner)
    for call, request in (
        (stubs.roles.UpdateRole, pb.UpdateRoleRequest(code=code, name="Mine", permissions=BUYING)),
        (stubs.roles.DeleteRole, pb.DeleteRoleRequest(code=code)),
    ):
        with refused() as refusal:
            call(request, metadata=env.by(owner, acme))
        assert (refusal.info.reason, refusal.code) == ("ROLE_BUILT_IN", grpc.StatusCode.FAILED_PRECONDITION)


def test_role_names_are_unique_regardless_of_case(env, stubs, refused):
    owner = env.add_user()
    acme, other = env.add_organization(owner), env.add_organization(owner)
    create(stubs, env.by(owner, acme))
    reader = create(stubs, env.by(owner, acme), "Reader")
    create(stubs, env.by(owner, other))
    for attempt in (
        lambda: create(stubs, env.by(owner, acme), "BUYER"),
        lambda: create(stubs, env.by(owner, acme), "oWNER"),
        lambda: update(stubs, env.by(owner, acme), reader.code, BUYING, name="buyer"),
    ):
        with refused() as refusal:
            attempt()
        assert (refusal.info.reason, refusal.code) == ("ROLE_EXISTS", grpc.StatusCode.ALREADY_EXISTS)


@pytest.mark.parametrize(
    "name", ["0wner", "\N{CYRILLIC CAPITAL LETTER O}wner", "Bu\N{CYRILLIC SMALL LETTER U}er", "BUYER"]
)
def test_lookalike_role_names_are_refused(env, stubs, refused, name):
    owner = env.add_user()
    acme = env.add_organization(owner)
    buyer = create(stubs, env.by(owner, acme))
    reader = create(stubs, env.by(owner, acme), "Reader")
    for attempt in (
        lambda: create(stubs, env.by(owner, acme), name),
        lambda: update(stubs, env.by(owner, acme), reader.code, BUYING, name=name),
    ):
        with refused() as refusal:
            attempt()
        assert (refusal.info.reason, refusal.code) == ("ROLE_EXISTS", grpc.StatusCode.ALREADY_EXISTS)
        assert refusal.info.metadata["looksLike"] == ("Owner" if "wner" in name else "Buyer")
    # A role is not a duplicate of itself.
    assert update(stubs, env.by(owner, acme), buyer.code, BUYING, name="BUYER").name == "BUYER"


def test_concurrent_lookalike_role_names_create_one_role(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    names = ["Seller", "S\N{CYRILLIC SMALL LETTER IE}ller", "5eller", "Sel1er"]

    def attempt(name):
        try:
            return create(stubs, env.by(owner, acme), name).name
        except grpc.RpcError as error:
            return error.code()

    with ThreadPoolExecutor(len(names)) as threads:
        outcomes = list(threads.map(attempt, names))
    assert outcomes.count(grpc.StatusCode.ALREADY_EXISTS) == len(names) - 1


def test_legacy_lookalike_role_can_still_be_changed(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    old = Role(str(uuid4()), "0wner", "", frozenset(BUYING), frozenset({"ADVERTISER"}), acme)
    with env.db.transaction() as tx:
        store.add(tx, old, env.clock.now())
    assert update(stubs, env.by(owner, acme), old.code, [Permission.REPORTS_READ], name="0wner").name == "0wner"
    with refused() as refusal:
        update(stubs, env.by(owner, acme), old.code, BUYING, name="0WNER")
    assert refusal.info.reason == "ROLE_EXISTS"


@pytest.mark.parametrize(
    ("kind", "permission"),
    [
        ("ADVERTISER", Permission.ADMIN_FULL),
        ("ADVERTISER", Permission.PAYMENTS_APPROVE),
        ("ADVERTISER", Permission.PUBLISHERS_READ),
        ("PUBLISHER", Permission.CAMPAIGNS_READ),
        ("PUBLISHER", Permission.ADMIN_FULL),
    ],
)
def test_custom_role_is_limited_to_permissions_of_the_organization_kind(env, stubs, refused, kind, permission):
    owner = env.add_user()
    acme = env.add_organization(owner, kind)
    role = create(stubs, env.by(owner, acme), codes=[Permission.REPORTS_READ])
    for attempt in (
        lambda: create(stubs, env.by(owner, acme), "Other", [permission]),
        lambda: update(stubs, env.by(owner, acme), role.code, [Permission.REPORTS_READ, permission]),
    ):
        with refused() as refusal:
            attempt()
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
        assert refusal.info.metadata["missing"] == Permission.Name(permission)


def test_only_admin_can_assign_admin(env, stubs, refused):
    admin = env.add_user()
    platform = env.add_organization(admin, "PLATFORM")
    full = create(stubs, env.by(admin, platform), "Deputy", [Permission.ADMIN_FULL])
    keeper = create(stubs, env.by(admin, platform), "Keeper", [Permission.ORGANIZATIONS_UPDATE])
    by_keeper = env.by(env.add_member(platform, keeper.code), platform)
    for attempt in (
        lambda: create(stubs, by_keeper, "Mine", [Permission.ADMIN_FULL]),
        lambda: update(stubs, by_keeper, keeper.code, [Permission.ORGANIZATIONS_UPDATE, Permission.ADMIN_FULL]),
        lambda: update(stubs, by_keeper, full.code, [Permission.ORGANIZATIONS_UPDATE]),
        lambda: stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=full.code), metadata=by_keeper),
    ):
        with refused() as refusal:
            attempt()
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
    # ADMIN_FULL includes every permission.
    by_deputy = env.by(env.add_member(platform, full.code), platform)
    assert create(stubs, by_deputy, "Approver", [Permission.PAYMENTS_APPROVE]).code


def test_roles_of_another_organization_are_not_found(env, stubs, refused):
    owner, stranger = env.add_user(), env.add_user("Eve")
    acme, other = env.add_organization(owner), env.add_organization(stranger)
    role = create(stubs, env.by(owner, acme))
    bob = env.add_member(other, "member")
    by_stranger = env.by(stranger, other)
    for call, request in (
        (stubs.roles.UpdateRole, pb.UpdateRoleRequest(code=role.code, name="Mine", permissions=BUYING)),
        (stubs.roles.DeleteRole, pb.DeleteRoleRequest(code=role.code)),
        (
            stubs.organizations.UpdateUser,
            organizations_pb2.UpdateUserRequest(user_id=str(bob.id), role=role.code),
        ),
        (
            stubs.organizations.InviteUser,
            organizations_pb2.InviteUserRequest(email="x@example.com", role=role.code),
        ),
    ):
        with refused() as refusal:
            call(request, metadata=by_stranger)
        assert (refusal.info.reason, refusal.code) == ("ROLE_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    assert role.code not in {
        one.code for one in stubs.roles.ListRoles(pb.ListRolesRequest(), metadata=by_stranger).roles
    }


def test_roles_of_own_organizations_are_listed(env, stubs):
    owner = env.add_user()
    acme, other = env.add_organization(owner), env.add_organization(owner, "PUBLISHER")
    first = create(stubs, env.by(owner, acme))
    second = create(stubs, env.by(owner, other), codes=[Permission.PUBLISHERS_READ])
    roles = {one.code: one for one in stubs.roles.ListRoles(pb.ListRolesRequest(), metadata=env.by(owner)).roles}
    assert set(roles) == {"admin", "owner", "publisher", "manager", "member", first.code, second.code}
    assert roles["owner"].organization_id == ""
    assert list(roles["publisher"].organization_kinds) == [auth_pb2.Organization.PUBLISHER]
    assert Permission.ADMIN_FULL in roles["admin"].permissions
    key = ApiKey(new_id(), owner.id, acme, permissions.mask(BUYING))
    assert second.code not in {one.code for one in env.roles.list_all(env.caller(owner, acme, key))}


def test_permissions_are_listed_with_code_name_and_title(env, stubs):
    listed = stubs.roles.ListPermissions(pb.ListPermissionsRequest(), metadata=env.by(env.add_user())).permissions
    assert [one.code for one in listed] == sorted(set(Permission.values()) - {0})
    assert (listed[0].name, listed[0].title) == ("CAMPAIGNS_READ", "View campaigns")


def test_permissions_are_explained_for_members_only(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    role = create(stubs, by_owner)
    bob, stranger = env.add_member(acme, role.code), env.add_user("Eve")
    env.add_organization(stranger)

    def explain(user_id, permission):
        request = pb.ExplainPermissionRequest(user_id=str(user_id), permission=permission)
        return stubs.roles.ExplainPermission(request, metadata=by_owner)

    granted = explain(bob.id, Permission.CAMPAIGNS_CREATE)
    assert (granted.allowed, granted.reason, granted.role) == (True, Explained.GRANTED_BY_ROLE, role.code)
    assert set(granted.granting_roles) == {"owner", "manager", role.code}
    denied = explain(bob.id, Permission.CAMPAIGNS_START)
    assert (denied.allowed, denied.reason) == (False, Explained.NOT_IN_ROLE)
    assert "CAMPAIGNS_START" in denied.explanation
    assert not explain(bob.id, Permission.PAYMENTS_APPROVE).granting_roles
    manager = env.add_member(acme, "manager")
    assert explain(manager.id, Permission.CAMPAIGNS_READ).allowed
    nobodys = explain(uuid4(), Permission.CAMPAIGNS_READ)
    assert (nobodys.allowed, nobodys.reason, nobodys.role) == (False, Explained.NOT_A_MEMBER, "")
    assert explain(stranger.id, Permission.CAMPAIGNS_READ) == nobodys


def test_publisher_manager_has_no_campaign_permissions(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner, "PUBLISHER")
    manager = env.add_member(acme, "manager")
    answer = stubs.roles.ExplainPermission(
        pb.ExplainPermissionRequest(user_id=str(manager.id), permission=Permission.CAMPAIGNS_READ),
        metadata=env.by(owner, acme),
    )
    assert (answer.allowed, answer.reason) == (False, Explained.NOT_IN_KIND)


def test_organization_has_at_most_a_hundred_custom_roles(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    caller = env.caller(owner, acme)
    for number in range(100):
        env.roles.create(caller, f"Role {number}", "", BUYING, unrepeated(caller))
    with pytest.raises(AppError, match="100 custom roles") as refusal:
        env.roles.create(caller, "One more", "", BUYING, unrepeated(caller))
    assert refusal.value.metadata == {"limit": "100"}


def unrepeated(caller):
    request = pb.CreateRoleRequest()
    return Idempotency(caller.organization_id, "test", "", request, lambda role: pb.Role(code=role.code), pb.Role)
