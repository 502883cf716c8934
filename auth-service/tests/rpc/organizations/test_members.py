"""Members grant, change and revoke permissions within their own, and every organization has an owner."""

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
from auth_service.tenancy import store

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


def editor(env, stubs, owner, organization):
    """A member who may grant and revoke the permissions of the role member, and no others."""
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(name="Editor", permissions=MEMBER_EDITOR), metadata=env.by(owner, organization)
    )
    return env.add_member(organization, role.code, "Eve")


def test_role_change_notifies_member(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    bob = env.add_member(acme, "member")
    changed = stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=str(bob.id), role="manager"), metadata=env.by(owner, acme)
    )
    assert (changed.id, changed.role, changed.state) == (str(bob.id), "manager", pb.Member.ACTIVE)
    assert Permission.CAMPAIGNS_CREATE in env.permissions(bob, acme)
    assert env.notifications(bob) == ["ROLE_CHANGED"]


def test_member_cannot_grant_or_revoke_beyond_own_permissions(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    eve = editor(env, stubs, owner, acme)
    bob, manager = env.add_member(acme, "member"), env.add_member(acme, "manager")
    by_eve = env.by(eve, acme)
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
    assert env.notifications(bob) == ["MEMBERSHIP_ENDED"]
    assert not env.permissions(bob, acme)


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
def test_unknown_roles_and_roles_of_other_kinds_cannot_be_assigned(env, stubs, refused, kind, role, reason):
    owner = env.add_user()
    acme = env.add_organization(owner, kind)
    bob = env.add_member(acme, "member")
    for call, request in (
        (stubs.organizations.InviteUser, pb.InviteUserRequest(email="x@example.com", role=role)),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(bob.id), role=role)),
    ):
        with refused() as refusal:
            call(request, metadata=env.by(owner, acme))
        assert refusal.info.reason == reason


def test_last_owner_cannot_leave_or_be_demoted(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    env.add_member(acme, "manager")
    by_owner = env.by(owner, acme)
    for call, request in (
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(owner.id))),
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(owner.id), role="member")),
        (stubs.organizations.LeaveOrganization, pb.LeaveOrganizationRequest(organization_id=str(acme))),
    ):
        with refused() as refusal:
            call(request, metadata=by_owner)
        assert (refusal.info.reason, refusal.code) == ("LAST_OWNER", grpc.StatusCode.FAILED_PRECONDITION)
    assert Permission.USERS_DELETE in env.permissions(owner, acme)


def test_longest_standing_co_owner_succeeds_a_leaving_owner(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    heir = env.add_member(acme, "owner")
    later = env.add_member(acme, "owner")
    stubs.organizations.LeaveOrganization(
        pb.LeaveOrganizationRequest(organization_id=str(acme)), metadata=env.by(owner)
    )
    assert env.owner_of(acme) == heir.id
    assert env.notifications(heir) == ["OWNERSHIP_RECEIVED"]
    assert not env.notifications(later)


def test_concurrently_leaving_owners_leave_one_owner(env):
    for _ in range(5):
        owner = env.add_user()
        acme = env.add_organization(owner)
        owners = [owner, env.add_member(acme, "owner")]
        start = threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            outcomes = list(pool.map(partial(leaves, env, acme, start), owners))
        assert sorted(outcomes) == ["", "LastOwner"]
        (left,) = [one for one in owners if env.permissions(one, acme)]
        assert env.owner_of(acme) == left.id


def leaves(env, organization_id, start, someone):
    start.wait()
    try:
        env.members.leave(someone.id, organization_id)
    except AppError as error:
        return type(error).__name__
    return ""


def test_resources_of_another_organization_are_not_found(env, stubs, refused):
    owner, stranger = env.add_user(), env.add_user("Eve")
    acme, other = env.add_organization(owner), env.add_organization(stranger, name="Other")
    bob = env.add_member(acme, "member")
    by_owner, by_stranger = env.by(owner, acme), env.by(stranger, other)
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


def test_members_and_invitations_are_listed_together_in_pages(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme)
    env.add_organization(env.add_user("Stranger"), name="Other")
    for number in range(3):
        env.add_member(acme, "member")
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


def test_owner_can_transfer_ownership_and_leave(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    heir, outsider = env.add_member(acme, "member"), env.add_user()
    request = pb.TransferOwnershipRequest(organization_id=str(acme), user_id=str(heir.id))
    co_owner = env.add_member(acme, "owner")
    with refused() as refusal:
        stubs.organizations.TransferOwnership(request, metadata=env.by(co_owner, acme))
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
            stubs.organizations.TransferOwnership(wrong, metadata=env.by(owner, acme))
        assert refusal.info.reason == reason
    stubs.organizations.TransferOwnership(request, metadata=env.by(owner, acme))
    assert env.owner_of(acme) == heir.id
    assert Permission.USERS_DELETE in env.permissions(heir, acme)
    assert Permission.USERS_DELETE not in env.permissions(owner, acme)
    assert env.notifications(heir) == ["OWNERSHIP_RECEIVED"]
    stubs.organizations.LeaveOrganization(
        pb.LeaveOrganizationRequest(organization_id=str(acme)), metadata=env.by(owner)
    )
    assert not env.permissions(owner, acme)


def test_co_owner_cannot_demote_or_remove_the_owner(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    co_owner = env.add_member(acme, "owner")
    for call, request in (
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=str(owner.id), role="member")),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=str(owner.id))),
    ):
        with refused() as refusal:
            call(request, metadata=env.by(co_owner, acme))
        assert (refusal.info.reason, refusal.code) == ("OWNER_REQUIRED", grpc.StatusCode.PERMISSION_DENIED)
    assert env.owner_of(acme) == owner.id
    stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=str(owner.id), role="member"), metadata=env.by(owner, acme)
    )
    assert env.owner_of(acme) == co_owner.id


def test_user_creates_at_most_twenty_organizations_idempotently(env, stubs, refused):
    ada, bob = env.add_user(), env.add_user("Bob")
    request = pb.CreateOrganizationRequest(name="Second", kind=auth_pb2.Organization.PUBLISHER)
    first = stubs.organizations.CreateOrganization(request, metadata=env.by(ada, idempotency_key="1"))
    assert stubs.organizations.CreateOrganization(request, metadata=env.by(ada, idempotency_key="1")) == first
    bobs = stubs.organizations.CreateOrganization(request, metadata=env.by(bob, idempotency_key="1"))
    assert bobs.id != first.id
    assert first.kind == auth_pb2.Organization.PUBLISHER
    assert Permission.PUBLISHERS_PAYOUT in env.permissions(ada, UUID(first.id))
    for _ in range(19):
        stubs.organizations.CreateOrganization(request, metadata=env.by(ada))
    with refused() as refusal:
        stubs.organizations.CreateOrganization(request, metadata=env.by(ada))
    assert refusal.info.metadata["limit"] == "20"
    with refused() as refusal:
        stubs.organizations.CreateOrganization(
            pb.CreateOrganizationRequest(name="X", kind=auth_pb2.Organization.PLATFORM), metadata=env.by(bob)
        )
    assert refusal.info.reason == "INVALID_FIELD"


def test_organization_is_renamed(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    request = pb.UpdateOrganizationRequest(organization_id=str(acme), name="Acme & Sons")
    assert stubs.organizations.UpdateOrganization(request, metadata=env.by(owner, acme)).name == "Acme & Sons"
    with env.db.transaction() as tx:
        tenant = store.lock(tx, acme)
    assert tenant.organization.name == "Acme & Sons"


def test_stale_cached_permissions_cannot_grant_anything(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    co_owner, bob = env.add_member(acme, "owner"), env.add_member(acme, "member")
    stale = env.caller(co_owner, acme)
    env.members.change_role(env.caller(owner, acme), co_owner.id, "manager")
    with pytest.raises(AppError, match="USERS_CREATE"):
        env.members.change_role(stale, bob.id, "owner")
    env.members.remove(env.caller(owner, acme), co_owner.id)
    with pytest.raises(NotAMember):
        env.members.change_role(stale, bob.id, "manager")
