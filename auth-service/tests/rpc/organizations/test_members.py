"""Members: nobody gives, changes or takes rights beyond their own, and every organization keeps an owner."""

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID, uuid4

import grpc
import pytest
from adplatform.auth.v1 import auth_pb2, roles_pb2
from adplatform.auth.v1 import organizations_pb2 as pb
from adplatform.options.v1.options_pb2 import Permission

from adlib.errors import AppError, NotAMember
from auth_service.organizations import store

MEMBER_EDITOR = [
    Permission.USERS_READ,
    Permission.USERS_CREATE,
    Permission.USERS_UPDATE,
    Permission.USERS_DELETE,
    Permission.CAMPAIGNS_READ,
    Permission.PAYMENTS_READ,
    Permission.REPORTS_READ,
    Permission.ANALYTICS_READ,
]


def editor(town, stubs, owner, organization):
    """Somebody who may give and take what a member has, and no more."""
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(name="Editor", permissions=MEMBER_EDITOR), metadata=town.by(owner, organization)
    )
    return town.joined(organization, role.code, "Eve")


def test_a_role_is_changed_and_its_holder_told(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    bob = town.joined(acme, "member")
    changed = stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=str(bob.id), role="manager"), metadata=town.by(owner, acme)
    )
    assert (changed.id, changed.role, changed.state) == (str(bob.id), "manager", pb.Member.ACTIVE)
    assert Permission.CAMPAIGNS_CREATE in town.rights(bob, acme)
    assert town.notices(bob) == ["ROLE_CHANGED"]


def test_nobody_promotes_beyond_their_own_rights_nor_demotes_or_removes_who_has_more(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    eve = editor(town, stubs, owner, acme)
    bob, manager = town.joined(acme, "member"), town.joined(acme, "manager")
    by_eve = town.by(eve, acme)
    for call, request in (
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(bob.id), role="manager")),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(eve.id), role="owner")),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(manager.id), role="member")),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(manager.id))),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(owner.id))),
        (stubs.organizations.InviteUser, pb.InviteUserRequest(email="x@example.com", role="manager")),
    ):
        with refused() as refusal:
            call(request, metadata=by_eve)
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
        assert refusal.code is grpc.StatusCode.PERMISSION_DENIED
        assert "CAMPAIGNS_CREATE" in refusal.info.metadata["missing"]
    stubs.organizations.RemoveUser(pb.RemoveUserRequest(user_id=str(bob.id)), metadata=by_eve)
    assert town.notices(bob) == ["MEMBERSHIP_ENDED"]
    assert not town.rights(bob, acme)


@pytest.mark.parametrize(
    ("kind", "role", "reason"),
    [
        ("ADVERTISER", "admin", "ROLE_NOT_ASSIGNABLE"),
        ("ADVERTISER", "publisher", "ROLE_NOT_ASSIGNABLE"),
        ("PUBLISHER", "owner", "ROLE_NOT_ASSIGNABLE"),
        ("PLATFORM", "owner", "ROLE_NOT_ASSIGNABLE"),
        ("ADVERTISER", "no-such-role", "ROLE_NOT_FOUND"),
    ],
)
def test_roles_of_other_kinds_and_unknown_ones_are_given_to_nobody(town, stubs, refused, kind, role, reason):
    owner = town.someone()
    acme = town.organization(owner, kind)
    bob = town.joined(acme, "member")
    for call, request in (
        (stubs.organizations.InviteUser, pb.InviteUserRequest(email="x@example.com", role=role)),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(bob.id), role=role)),
    ):
        with refused() as refusal:
            call(request, metadata=town.by(owner, acme))
        assert refusal.info.reason == reason


def test_the_last_owner_stays_one(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    town.joined(acme, "manager")
    by_owner = town.by(owner, acme)
    for call, request in (
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(owner.id))),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(owner.id), role="member")),
        (stubs.organizations.LeaveOrganization, pb.LeaveOrganizationRequest(organization_id=str(acme))),
    ):
        with refused() as refusal:
            call(request, metadata=by_owner)
        assert (refusal.info.reason, refusal.code) == ("LAST_OWNER", grpc.StatusCode.FAILED_PRECONDITION)
    assert Permission.USERS_DELETE in town.rights(owner, acme)


def test_when_the_owner_leaves_whoever_has_been_one_the_longest_owns_it(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    heir = town.joined(acme, "owner")
    later = town.joined(acme, "owner")
    stubs.organizations.LeaveOrganization(
        pb.LeaveOrganizationRequest(organization_id=str(acme)), metadata=town.by(owner)
    )
    assert town.owner_of(acme) == heir.id
    assert town.notices(heir) == ["OWNERSHIP_RECEIVED"]
    assert not town.notices(later)


def test_of_two_owners_who_leave_at_the_same_time_one_stays(town):
    for _ in range(5):
        owner = town.someone()
        acme = town.organization(owner)
        owners = [owner, town.joined(acme, "owner")]
        start = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(partial(leaves, town, acme, start), owners))
        assert sorted(outcomes) == ["", "LastOwner"]
        (left,) = [one for one in owners if town.rights(one, acme)]
        assert town.owner_of(acme) == left.id


def leaves(town, organization_id, start, someone):
    start.wait()
    try:
        town.members.leave(someone.id, organization_id)
    except AppError as error:
        return type(error).__name__
    return ""


def test_what_is_anothers_organization_is_not_found(town, stubs, refused):
    owner, stranger = town.someone(), town.someone("Eve")
    acme, other = town.organization(owner), town.organization(stranger, name="Other")
    bob = town.joined(acme, "member")
    by_owner, by_stranger = town.by(owner, acme), town.by(stranger, other)
    invited = stubs.organizations.InviteUser(
        pb.InviteUserRequest(email="x@example.com", role="member"), metadata=by_owner
    )
    for id in (str(bob.id), invited.id, str(uuid4())):
        for call, request in (
            (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=id, role="member")),
            (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=id)),
            (stubs.organizations.ResendInvitation, pb.ResendInvitationRequest(user_id=id)),
        ):
            with refused() as refusal:
                call(request, metadata=by_stranger)
            assert (refusal.info.reason, refusal.code) == ("USER_NOT_FOUND", grpc.StatusCode.NOT_FOUND)
    for call, request in (
        (stubs.organizations.UpdateOrganization, pb.UpdateOrganizationRequest(organization_id=str(acme), name="Mine")),
        (
            stubs.organizations.TransferOwnership,
            pb.TransferOwnershipRequest(organization_id=str(acme), user_id=str(stranger.id)),
        ),
        (stubs.organizations.LeaveOrganization, pb.LeaveOrganizationRequest(organization_id=str(acme))),
    ):
        with refused() as refusal:
            call(request, metadata=by_stranger)
        assert refusal.info.reason == "ORGANIZATION_NOT_FOUND"


def test_members_and_invitations_are_one_list_in_pages(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme)
    town.organization(town.someone("Stranger"), name="Other")
    for number in range(3):
        town.joined(acme, "member")
        request = pb.InviteUserRequest(email=f"{number}@example.com", role="member")
        stubs.organizations.InviteUser(request, metadata=by_owner)
    seen, token = [], ""
    while True:
        answer = stubs.organizations.ListUsers(pb.ListUsersRequest(page_size=2, page_token=token), metadata=by_owner)
        assert len(answer.users) <= 2
        seen += answer.users
        token = answer.next_page_token
        if not token:
            break
    assert [UUID(one.id) for one in seen] == sorted((UUID(one.id) for one in seen), reverse=True)
    assert len(seen) == 7
    assert sum(one.state == pb.Member.INVITED for one in seen) == 3
    assert all(one.HasField("expire_time") == (one.state == pb.Member.INVITED) for one in seen)


def test_the_owner_hands_over_and_can_leave(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    heir, outsider = town.joined(acme, "member"), town.someone()
    request = pb.TransferOwnershipRequest(organization_id=str(acme), user_id=str(heir.id))
    co_owner = town.joined(acme, "owner")
    with refused() as refusal:
        stubs.organizations.TransferOwnership(request, metadata=town.by(co_owner, acme))
    assert refusal.info.reason == "OWNER_REQUIRED"
    for changes, reason in (
        ({"user_id": str(outsider.id)}, "USER_NOT_FOUND"),
        ({"user_id": str(owner.id)}, "INVALID_FIELD"),
        ({"former_owner_role": "admin"}, "ROLE_NOT_ASSIGNABLE"),
        ({"former_owner_role": "nobody"}, "ROLE_NOT_FOUND"),
    ):
        wrong = pb.TransferOwnershipRequest(organization_id=str(acme), user_id=str(heir.id))
        for name, value in changes.items():
            setattr(wrong, name, value)
        with refused() as refusal:
            stubs.organizations.TransferOwnership(wrong, metadata=town.by(owner, acme))
        assert refusal.info.reason == reason
    stubs.organizations.TransferOwnership(request, metadata=town.by(owner, acme))
    assert town.owner_of(acme) == heir.id
    assert Permission.USERS_DELETE in town.rights(heir, acme)
    assert Permission.USERS_DELETE not in town.rights(owner, acme)
    assert town.notices(heir) == ["OWNERSHIP_RECEIVED"]
    stubs.organizations.LeaveOrganization(
        pb.LeaveOrganizationRequest(organization_id=str(acme)), metadata=town.by(owner)
    )
    assert not town.rights(owner, acme)


def test_nobody_takes_the_organization_from_its_owner(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    co_owner = town.joined(acme, "owner")
    for call, request in (
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(owner.id), role="member")),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(owner.id))),
    ):
        with refused() as refusal:
            call(request, metadata=town.by(co_owner, acme))
        assert (refusal.info.reason, refusal.code) == ("OWNER_REQUIRED", grpc.StatusCode.PERMISSION_DENIED)
    assert town.owner_of(acme) == owner.id
    stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=str(owner.id), role="member"), metadata=town.by(owner, acme)
    )
    assert town.owner_of(acme) == co_owner.id


def test_a_person_makes_organizations_once_a_key_and_no_more_than_twenty(town, stubs, refused):
    ada, bob = town.someone(), town.someone("Bob")
    request = pb.CreateOrganizationRequest(name="Second", kind=auth_pb2.Organization.PUBLISHER)
    first = stubs.organizations.CreateOrganization(request, metadata=town.by(ada, idempotency_key="1"))
    assert stubs.organizations.CreateOrganization(request, metadata=town.by(ada, idempotency_key="1")) == first
    bobs = stubs.organizations.CreateOrganization(request, metadata=town.by(bob, idempotency_key="1"))
    assert bobs.id != first.id
    assert first.kind == auth_pb2.Organization.PUBLISHER
    assert Permission.PUBLISHERS_PAYOUT in town.rights(ada, UUID(first.id))
    for _ in range(19):
        stubs.organizations.CreateOrganization(request, metadata=town.by(ada))
    with refused() as refusal:
        stubs.organizations.CreateOrganization(request, metadata=town.by(ada))
    assert refusal.info.metadata["limit"] == "20"
    with refused() as refusal:
        stubs.organizations.CreateOrganization(
            pb.CreateOrganizationRequest(name="X", kind=auth_pb2.Organization.PLATFORM), metadata=town.by(bob)
        )
    assert refusal.info.reason == "INVALID_FIELD"


def test_an_organization_is_renamed(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    request = pb.UpdateOrganizationRequest(organization_id=str(acme), name="Acme & Sons")
    assert stubs.organizations.UpdateOrganization(request, metadata=town.by(owner, acme)).name == "Acme & Sons"
    with town.db.transaction() as tx:
        tenant = store.lock(tx, acme)
    assert tenant.organization.name == "Acme & Sons"


def test_rights_that_a_cache_still_shows_give_nothing_away(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    co_owner, bob = town.joined(acme, "owner"), town.joined(acme, "member")
    stale = town.caller(co_owner, acme)
    town.members.change_role(town.caller(owner, acme), co_owner.id, "manager")
    with pytest.raises(AppError, match="USERS_CREATE"):
        town.members.change_role(stale, bob.id, "owner")
    town.members.remove(town.caller(owner, acme), co_owner.id)
    with pytest.raises(NotAMember):
        town.members.change_role(stale, bob.id, "manager")
