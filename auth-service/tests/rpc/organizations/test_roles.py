"""Roles that an organization makes for itself, and why somebody may do something."""

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
from auth_service.roles import store
from auth_service.roles.model import Role

BUYING = [Permission.CAMPAIGNS_READ, Permission.CAMPAIGNS_CREATE]
Explained = pb.ExplainPermissionResponse


def create(stubs, metadata, name="Buyer", codes=BUYING):
    return stubs.roles.CreateRole(
        pb.CreateRoleRequest(name=name, description="Buys", permissions=codes), metadata=metadata
    )


def update(stubs, metadata, code, codes, name="Buyer"):
    return stubs.roles.UpdateRole(pb.UpdateRoleRequest(code=code, name=name, permissions=codes), metadata=metadata)


def test_a_role_of_ones_own_is_made_given_changed_and_deleted_when_nobody_has_it(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    role = create(stubs, by_owner)
    assert list(role.permissions) == sorted(BUYING)
    assert list(role.organization_kinds) == [auth_pb2.Organization.ADVERTISER]
    bob = town.joined(acme, role.code)
    assert town.rights(bob, acme) == set(BUYING)
    update(stubs, by_owner, role.code, [Permission.REPORTS_READ], name="Reader")
    assert town.rights(bob, acme) == {Permission.REPORTS_READ}
    delete = pb.DeleteRoleRequest(code=role.code)
    with refused() as refusal:
        stubs.roles.DeleteRole(delete, metadata=by_owner)
    assert (refusal.info.reason, refusal.code) == ("ROLE_IN_USE", grpc.StatusCode.FAILED_PRECONDITION)
    town.members.remove(town.caller(owner, acme), bob.id)
    stubs.roles.DeleteRole(delete, metadata=by_owner)
    with refused() as refusal:
        stubs.roles.DeleteRole(delete, metadata=by_owner)
    assert refusal.info.reason == "ROLE_NOT_FOUND"


def test_an_open_invitation_keeps_its_role_and_an_accepted_one_does_not(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    role = create(stubs, by_owner)
    invite = organizations_pb2.InviteUserRequest(email=town.new_email, role=role.code)
    stubs.organizations.InviteUser(invite, metadata=by_owner)
    with refused() as refusal:
        stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=role.code), metadata=by_owner)
    assert refusal.info.reason == "ROLE_IN_USE"
    new = town.someone("New", town.new_email)
    town.invitations.join(town.last_token(), new.id)
    town.members.change_role(town.caller(owner, acme), new.id, "member")
    stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=role.code), metadata=by_owner)


@pytest.mark.parametrize("code", ["owner", "admin", "member"])
def test_what_every_organization_has_stays_as_it_is(town, stubs, refused, code):
    owner = town.someone()
    acme = town.organization(owner)
    for call, request in (
        (stubs.roles.UpdateRole, pb.UpdateRoleRequest(code=code, name="Mine", permissions=BUYING)),
        (stubs.roles.DeleteRole, pb.DeleteRoleRequest(code=code)),
    ):
        with refused() as refusal:
            call(request, metadata=town.by(owner, acme))
        assert (refusal.info.reason, refusal.code) == ("ROLE_BUILT_IN", grpc.StatusCode.FAILED_PRECONDITION)


def test_names_are_taken_once_in_an_organization_in_whatever_case(town, stubs, refused):
    owner = town.someone()
    acme, other = town.organization(owner), town.organization(owner)
    create(stubs, town.by(owner, acme))
    reader = create(stubs, town.by(owner, acme), "Reader")
    create(stubs, town.by(owner, other))
    for attempt in (
        lambda: create(stubs, town.by(owner, acme), "BUYER"),
        lambda: create(stubs, town.by(owner, acme), "oWNER"),
        lambda: update(stubs, town.by(owner, acme), reader.code, BUYING, name="buyer"),
    ):
        with refused() as refusal:
            attempt()
        assert (refusal.info.reason, refusal.code) == ("ROLE_EXISTS", grpc.StatusCode.ALREADY_EXISTS)


@pytest.mark.parametrize(
    "name", ["0wner", "\N{CYRILLIC CAPITAL LETTER O}wner", "Bu\N{CYRILLIC SMALL LETTER U}er", "BUYER"]
)
def test_no_role_looks_like_another(town, stubs, refused, name):
    owner = town.someone()
    acme = town.organization(owner)
    buyer = create(stubs, town.by(owner, acme))
    reader = create(stubs, town.by(owner, acme), "Reader")
    for attempt in (
        lambda: create(stubs, town.by(owner, acme), name),
        lambda: update(stubs, town.by(owner, acme), reader.code, BUYING, name=name),
    ):
        with refused() as refusal:
            attempt()
        assert (refusal.info.reason, refusal.code) == ("ROLE_EXISTS", grpc.StatusCode.ALREADY_EXISTS)
        assert refusal.info.metadata["looksLike"] == ("Owner" if "wner" in name else "Buyer")
    # A role does not stand in its own way.
    assert update(stubs, town.by(owner, acme), buyer.code, BUYING, name="BUYER").name == "BUYER"


def test_of_names_that_look_alike_one_is_given_when_they_are_asked_for_at_once(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    names = ["Seller", "S\N{CYRILLIC SMALL LETTER IE}ller", "5eller", "Sel1er"]

    def attempt(name):
        try:
            return create(stubs, town.by(owner, acme), name).name
        except grpc.RpcError as error:
            return error.code()

    with ThreadPoolExecutor(len(names)) as threads:
        outcomes = list(threads.map(attempt, names))
    assert outcomes.count(grpc.StatusCode.ALREADY_EXISTS) == len(names) - 1


def test_a_role_that_was_named_before_names_were_compared_can_still_be_changed(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    old = Role(str(uuid4()), "0wner", "", frozenset(BUYING), frozenset({"ADVERTISER"}), acme)
    with town.db.transaction() as tx:
        store.add(tx, old, town.clock.now())
    assert update(stubs, town.by(owner, acme), old.code, [Permission.REPORTS_READ], name="0wner").name == "0wner"
    with refused() as refusal:
        update(stubs, town.by(owner, acme), old.code, BUYING, name="0WNER")
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
def test_no_role_has_what_its_kind_of_organization_cannot_hold(town, stubs, refused, kind, permission):
    owner = town.someone()
    acme = town.organization(owner, kind)
    role = create(stubs, town.by(owner, acme), codes=[Permission.REPORTS_READ])
    for attempt in (
        lambda: create(stubs, town.by(owner, acme), "Other", [permission]),
        lambda: update(stubs, town.by(owner, acme), role.code, [Permission.REPORTS_READ, permission]),
    ):
        with refused() as refusal:
            attempt()
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
        assert refusal.info.metadata["missing"] == Permission.Name(permission)


def test_only_an_admin_makes_an_admin(town, stubs, refused):
    admin = town.someone()
    platform = town.organization(admin, "PLATFORM")
    full = create(stubs, town.by(admin, platform), "Deputy", [Permission.ADMIN_FULL])
    keeper = create(stubs, town.by(admin, platform), "Keeper", [Permission.ORGANIZATIONS_UPDATE])
    by_keeper = town.by(town.joined(platform, keeper.code), platform)
    for attempt in (
        lambda: create(stubs, by_keeper, "Mine", [Permission.ADMIN_FULL]),
        lambda: update(stubs, by_keeper, keeper.code, [Permission.ORGANIZATIONS_UPDATE, Permission.ADMIN_FULL]),
        lambda: update(stubs, by_keeper, full.code, [Permission.ORGANIZATIONS_UPDATE]),
        lambda: stubs.roles.DeleteRole(pb.DeleteRoleRequest(code=full.code), metadata=by_keeper),
    ):
        with refused() as refusal:
            attempt()
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
    # Who has everything needs no permission by its own name.
    by_deputy = town.by(town.joined(platform, full.code), platform)
    assert create(stubs, by_deputy, "Approver", [Permission.PAYMENTS_APPROVE]).code


def test_another_organizations_roles_are_not_there(town, stubs, refused):
    owner, stranger = town.someone(), town.someone("Eve")
    acme, other = town.organization(owner), town.organization(stranger)
    role = create(stubs, town.by(owner, acme))
    bob = town.joined(other, "member")
    by_stranger = town.by(stranger, other)
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


def test_one_sees_the_roles_of_ones_organizations_and_a_key_those_of_its_own(town, stubs):
    owner = town.someone()
    acme, other = town.organization(owner), town.organization(owner, "PUBLISHER")
    first = create(stubs, town.by(owner, acme))
    second = create(stubs, town.by(owner, other), codes=[Permission.PUBLISHERS_READ])
    roles = {one.code: one for one in stubs.roles.ListRoles(pb.ListRolesRequest(), metadata=town.by(owner)).roles}
    assert set(roles) == {"admin", "owner", "publisher", "manager", "member", first.code, second.code}
    assert roles["owner"].organization_id == ""
    assert list(roles["publisher"].organization_kinds) == [auth_pb2.Organization.PUBLISHER]
    assert Permission.ADMIN_FULL in roles["admin"].permissions
    key = ApiKey(new_id(), owner.id, acme, permissions.mask(BUYING))
    assert second.code not in {one.code for one in town.roles.list_all(town.caller(owner, acme, key))}


def test_permissions_are_listed_by_code_name_and_title(town, stubs):
    listed = stubs.roles.ListPermissions(pb.ListPermissionsRequest(), metadata=town.by(town.someone())).permissions
    assert [one.code for one in listed] == sorted(set(Permission.values()) - {0})
    assert (listed[0].name, listed[0].title) == ("CAMPAIGNS_READ", "View campaigns")


def test_why_somebody_may_or_may_not_is_said_of_members_alone(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    role = create(stubs, by_owner)
    bob, stranger = town.joined(acme, role.code), town.someone("Eve")
    town.organization(stranger)

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
    manager = town.joined(acme, "manager")
    assert explain(manager.id, Permission.CAMPAIGNS_READ).allowed
    nobodys = explain(uuid4(), Permission.CAMPAIGNS_READ)
    assert (nobodys.allowed, nobodys.reason, nobodys.role) == (False, Explained.NOT_A_MEMBER, "")
    assert explain(stranger.id, Permission.CAMPAIGNS_READ) == nobodys


def test_a_publishers_manager_does_not_get_the_campaigns_that_the_role_grants(town, stubs):
    owner = town.someone()
    acme = town.organization(owner, "PUBLISHER")
    manager = town.joined(acme, "manager")
    answer = stubs.roles.ExplainPermission(
        pb.ExplainPermissionRequest(user_id=str(manager.id), permission=Permission.CAMPAIGNS_READ),
        metadata=town.by(owner, acme),
    )
    assert (answer.allowed, answer.reason) == (False, Explained.NOT_IN_KIND)


def test_an_organization_makes_no_more_than_a_hundred_roles(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    caller = town.caller(owner, acme)
    for number in range(100):
        town.roles.create(caller, f"Role {number}", "", BUYING, unrepeated(caller))
    with pytest.raises(AppError, match="100 roles") as refusal:
        town.roles.create(caller, "One more", "", BUYING, unrepeated(caller))
    assert refusal.value.metadata == {"limit": "100"}


def unrepeated(caller):
    request = pb.CreateRoleRequest()
    return Idempotency(caller.organization_id, "test", "", request, lambda role: pb.Role(code=role.code), pb.Role)
