"""Invitations are valid only while their sender could send them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import grpc
import pytest
from adplatform.auth.v1 import organizations_pb2 as pb
from adplatform.auth.v1 import roles_pb2
from adplatform.options.v1.options_pb2 import Permission

from adlib.errors import AppError, Unavailable
from adlib.idempotency import Idempotency


def invite(env, stubs, metadata, email="", role="member"):
    request = pb.InviteUserRequest(email=email or env.new_email, role=role)
    return stubs.organizations.InviteUser(request, metadata=metadata)


def accept(env, stubs, someone, token):
    return stubs.organizations.AcceptInvitation(pb.AcceptInvitationRequest(token=token), metadata=env.by(someone))


def test_invited_user_joins_with_role_and_inviter_is_notified(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    invited = invite(env, stubs, env.by(owner, acme), env.new_email.upper())
    assert (invited.email, invited.name, invited.state) == (env.new_email, "", pb.Member.INVITED)
    (mail,) = env.mails(env.new_email)
    assert mail.recipient == env.new_email
    assert mail.parameters["organization_name"] == "Acme"
    assert mail.parameters["invited_by"] == "Ada"
    new = env.add_user("New", env.new_email)
    membership = accept(env, stubs, new, env.last_token())
    assert (membership.organization_id, membership.role) == (str(acme), "member")
    assert set(membership.permissions) == env.permissions(new, acme)
    assert env.notifications(owner) == ["INVITATION_ACCEPTED"]
    assert env.was_accepted(invited.id)


def test_response_does_not_reveal_registered_emails(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    known = env.add_user("Known")
    answers = [invite(env, stubs, env.by(owner, acme), email) for email in (known.email, env.new_email)]
    for answer in answers:
        answer.ClearField("id")
        answer.ClearField("email")
    assert answers[0] == answers[1]


def test_email_is_invited_again_only_after_expiry(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    bob = env.add_member(acme, "member")
    first = invite(env, stubs, env.by(owner, acme))
    for email in (env.new_email.upper(), bob.email):
        with refused() as refusal:
            invite(env, stubs, env.by(owner, acme), email)
        assert (refusal.info.reason, refusal.code) == ("MEMBER_EXISTS", grpc.StatusCode.ALREADY_EXISTS)
    env.clock.at += timedelta(days=8)
    env.invitations.resend(env.caller(owner, acme), UUID(first.id))
    env.clock.at += timedelta(days=8)
    second = invite(env, stubs, env.by(owner, acme))
    assert second.id != first.id
    listed = stubs.organizations.ListUsers(pb.ListUsersRequest(), metadata=env.by(owner, acme)).users
    assert [one.id for one in listed if one.state == pb.Member.INVITED] == [second.id]


def test_organization_and_user_send_at_most_a_hundred_invitations_an_hour(env, stubs, refused):
    owner = env.add_user()
    acme, other = env.add_organization(owner), env.add_organization(owner)
    manager = env.add_member(acme, "owner")

    def one(number):
        return invite(env, stubs, env.by(owner, acme), f"{number}-{env.new_email}")

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(one, range(100)))) == 100
    for someone, organization in ((owner, acme), (manager, acme), (owner, other)):
        with refused() as refusal:
            invite(env, stubs, env.by(someone, organization))
        assert (refusal.info.reason, refusal.code) == ("TOO_MANY_INVITATIONS", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert refusal.info.metadata["limit"] == "100"
        assert 3500 < refusal.wait_s <= 3600
        assert not env.mails(env.new_email)
    env.clock.at += timedelta(hours=1)
    invite(env, stubs, env.by(owner, acme))


def test_refused_invitation_is_not_counted(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    bob = env.add_member(acme, "member")
    for _ in range(110):
        with refused() as refusal:
            invite(env, stubs, env.by(owner, acme), bob.email)
        assert refusal.info.reason == "MEMBER_EXISTS"
    invite(env, stubs, env.by(owner, acme))


class Failing(Idempotency):
    """A response that cannot be stored."""

    def record(self, tx, outcome):
        raise Unavailable("the database does not answer")


def test_invitation_during_outage_is_not_counted(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    caller = env.caller(owner, acme)
    for _ in range(20):
        idempotency = Failing(acme, "test", "", pb.InviteUserRequest(), lambda _: pb.Member(), pb.Member)
        with pytest.raises(Unavailable):
            env.invitations.invite(caller, env.new_email, "member", idempotency)
    invited = invite(env, stubs, env.by(owner, acme))
    for _ in range(4):
        env.invitations.resend(caller, UUID(invited.id))


def test_invitations_to_one_mailbox_are_limited(env, stubs, refused):
    owner = env.add_user()
    acme, other = env.add_organization(owner), env.add_organization(owner)
    invited = invite(env, stubs, env.by(owner, acme))
    again = pb.ResendInvitationRequest(user_id=invited.id)
    for _ in range(3):
        stubs.organizations.ResendInvitation(again, metadata=env.by(owner, acme))
    invite(env, stubs, env.by(owner, other))
    with refused() as refusal:
        stubs.organizations.ResendInvitation(again, metadata=env.by(owner, acme))
    assert (refusal.info.reason, refusal.code) == ("TOO_MANY_ATTEMPTS", grpc.StatusCode.RESOURCE_EXHAUSTED)
    stubs.organizations.RemoveUser(pb.RemoveUserRequest(user_id=invited.id), metadata=env.by(owner, acme))
    with refused() as refusal:
        invite(env, stubs, env.by(owner, acme))
    assert refusal.info.reason == "TOO_MANY_ATTEMPTS"
    assert len(env.mails(env.new_email)) == 5
    invite(env, stubs, env.by(owner, acme), f"another.{env.new_email}")
    env.clock.at += timedelta(hours=1)
    invite(env, stubs, env.by(owner, acme))


def test_repeated_request_invites_once(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    by_owner = env.by(owner, acme, idempotency_key="again")
    assert invite(env, stubs, by_owner) == invite(env, stubs, by_owner)
    assert len(env.mails(env.new_email)) == 1


def test_invitation_link_works_once_for_its_recipient_until_resent(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    new, eve = env.add_user("New", env.new_email), env.add_user("Eve")
    invited = invite(env, stubs, env.by(owner, acme))
    old = env.last_token()
    again = stubs.organizations.ResendInvitation(
        pb.ResendInvitationRequest(user_id=invited.id), metadata=env.by(owner, acme)
    )
    assert again.id == invited.id
    token = env.last_token()
    for someone, text, reason in (
        (eve, token, "INVITATION_FOR_ANOTHER"),
        (new, old, "LINK_USED"),
        (new, token[:-4] + "AAAA", "LINK_INVALID"),
        (new, "nonsense", "LINK_INVALID"),
    ):
        with refused() as refusal:
            accept(env, stubs, someone, text)
        assert refusal.info.reason == reason
    accept(env, stubs, new, token)
    with refused() as refusal:
        accept(env, stubs, new, token)
    assert refusal.info.reason == "LINK_USED"


def test_link_expires(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    invite(env, stubs, env.by(owner, acme))
    new = env.add_user("New", env.new_email)
    token = env.last_token()
    env.clock.at += timedelta(days=7, seconds=1)
    with refused() as refusal:
        accept(env, stubs, new, token)
    assert refusal.info.reason == "LINK_EXPIRED"


def test_withdrawn_invitation_cannot_be_accepted(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    invited = invite(env, stubs, env.by(owner, acme))
    token = env.last_token()
    stubs.organizations.RemoveUser(pb.RemoveUserRequest(user_id=invited.id), metadata=env.by(owner, acme))
    new = env.add_user("New", env.new_email)
    with refused() as refusal:
        accept(env, stubs, new, token)
    assert refusal.info.reason == "LINK_USED"
    assert not env.permissions(new, acme)


@pytest.mark.parametrize("fall", ["removed", "demoted"])
def test_invitation_is_void_once_its_sender_lost_the_permission(env, stubs, refused, fall):
    owner = env.add_user()
    acme = env.add_organization(owner)
    former = env.add_member(acme, "owner")
    invited = invite(env, stubs, env.by(former, acme), role="owner")
    token = env.last_token()
    if fall == "removed":
        env.members.remove(env.caller(owner, acme), former.id)
    else:
        env.members.change_role(env.caller(owner, acme), former.id, "manager")
    new = env.add_user("New", env.new_email)
    with refused() as refusal:
        accept(env, stubs, new, token)
    assert refusal.info.reason == "LINK_INVALID"
    assert not env.permissions(new, acme)
    # From then on, the member who resent it is responsible for it.
    stubs.organizations.ResendInvitation(pb.ResendInvitationRequest(user_id=invited.id), metadata=env.by(owner, acme))
    assert accept(env, stubs, new, env.last_token()).role == "owner"


def test_invitation_role_change_requires_permissions_of_both_roles(env, stubs, refused):
    owner = env.add_user()
    acme = env.add_organization(owner)
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(
            name="Editor", permissions=[Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.USERS_DELETE]
        ),
        metadata=env.by(owner, acme),
    )
    eve = env.add_member(acme, role.code, "Eve")
    invited = invite(env, stubs, env.by(owner, acme), role="manager")
    for call, request in (
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=invited.id, role=role.code)),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=invited.id)),
        (stubs.organizations.ResendInvitation, pb.ResendInvitationRequest(user_id=invited.id)),
    ):
        with refused() as refusal:
            call(request, metadata=env.by(eve, acme))
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
    changed = stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=invited.id, role=role.code), metadata=env.by(owner, acme)
    )
    assert (changed.role, changed.state) == (role.code, pb.Member.INVITED)
    new = env.add_user("New", env.new_email)
    assert accept(env, stubs, new, env.last_token()).role == role.code


def test_member_cannot_join_again(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    invite(env, stubs, env.by(owner, acme))
    token = env.last_token()
    new = env.add_user("New", env.new_email)
    with pytest.raises(AppError, match="member") as refusal, env.db.transaction() as tx:
        env.acceptance.accept(tx, token, owner.id, new.email)
    assert type(refusal.value).__name__ == "MemberExists"


def test_invitation_can_be_accepted_in_the_sign_up_transaction(env, stubs):
    owner = env.add_user()
    acme = env.add_organization(owner)
    invite(env, stubs, env.by(owner, acme))
    token = env.last_token()
    new = env.add_user("New", env.new_email)
    with env.db.transaction() as tx:
        membership = env.acceptance.accept(tx, token, new.id, env.new_email.upper())
    assert membership.organization.id == acme
