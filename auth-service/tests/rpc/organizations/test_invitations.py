"""Invitations: a door that only whoever could open it today keeps open."""

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


def invite(town, stubs, metadata, email="", role="member"):
    request = pb.InviteUserRequest(email=email or town.new_email, role=role)
    return stubs.organizations.InviteUser(request, metadata=metadata)


def accept(town, stubs, someone, token):
    return stubs.organizations.AcceptInvitation(pb.AcceptInvitationRequest(token=token), metadata=town.by(someone))


def test_whoever_is_invited_joins_with_the_role_and_the_inviter_is_told(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    invited = invite(town, stubs, town.by(owner, acme), town.new_email.upper())
    assert (invited.email, invited.name, invited.state) == (town.new_email, "", pb.Member.INVITED)
    (mail,) = town.mails(town.new_email)
    assert mail.recipient == town.new_email
    assert mail.parameters["organization_name"] == "Acme"
    assert mail.parameters["invited_by"] == "Ada"
    new = town.someone("New", town.new_email)
    membership = accept(town, stubs, new, town.last_token())
    assert (membership.organization_id, membership.role) == (str(acme), "member")
    assert set(membership.permissions) == town.rights(new, acme)
    assert town.notices(owner) == ["INVITATION_ACCEPTED"]
    assert town.was_accepted(invited.id)


def test_the_answer_does_not_say_whether_somebody_has_signed_up(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    known = town.someone("Known")
    answers = [invite(town, stubs, town.by(owner, acme), email) for email in (known.email, town.new_email)]
    for answer in answers:
        answer.ClearField("id")
        answer.ClearField("email")
    assert answers[0] == answers[1]


def test_nobody_is_invited_twice_until_the_invitation_has_expired(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    bob = town.joined(acme, "member")
    first = invite(town, stubs, town.by(owner, acme))
    for email in (town.new_email.upper(), bob.email):
        with refused() as refusal:
            invite(town, stubs, town.by(owner, acme), email)
        assert (refusal.info.reason, refusal.code) == ("MEMBER_EXISTS", grpc.StatusCode.ALREADY_EXISTS)
    town.clock.at += timedelta(days=8)
    town.invitations.resend(town.caller(owner, acme), UUID(first.id))
    town.clock.at += timedelta(days=8)
    second = invite(town, stubs, town.by(owner, acme))
    assert second.id != first.id
    listed = stubs.organizations.ListUsers(pb.ListUsersRequest(), metadata=town.by(owner, acme)).users
    assert [one.id for one in listed if one.state == pb.Member.INVITED] == [second.id]


def test_an_organization_and_a_person_send_a_hundred_invitations_an_hour(town, stubs, refused):
    owner = town.someone()
    acme, other = town.organization(owner), town.organization(owner)
    manager = town.joined(acme, "owner")

    def one(number):
        return invite(town, stubs, town.by(owner, acme), f"{number}-{town.new_email}")

    with ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(one, range(100)))) == 100
    for someone, organization in ((owner, acme), (manager, acme), (owner, other)):
        with refused() as refusal:
            invite(town, stubs, town.by(someone, organization))
        assert (refusal.info.reason, refusal.code) == ("TOO_MANY_INVITATIONS", grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert refusal.info.metadata["limit"] == "100"
        assert 3500 < refusal.wait_s <= 3600
        assert not town.mails(town.new_email)
    town.clock.at += timedelta(hours=1)
    invite(town, stubs, town.by(owner, acme))


def test_an_invitation_that_was_refused_is_not_counted(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    bob = town.joined(acme, "member")
    for _ in range(110):
        with refused() as refusal:
            invite(town, stubs, town.by(owner, acme), bob.email)
        assert refusal.info.reason == "MEMBER_EXISTS"
    invite(town, stubs, town.by(owner, acme))


class Failing(Idempotency):
    """An answer that cannot be stored."""

    def record(self, tx, outcome):
        raise Unavailable("the database does not answer")


def test_an_invitation_that_met_an_outage_is_not_counted(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    caller = town.caller(owner, acme)
    for _ in range(20):
        idempotency = Failing(acme, "test", "", pb.InviteUserRequest(), lambda _: pb.Member(), pb.Member)
        with pytest.raises(Unavailable):
            town.invitations.invite(caller, town.new_email, "member", idempotency)
    invited = invite(town, stubs, town.by(owner, acme))
    for _ in range(4):
        town.invitations.resend(caller, UUID(invited.id))


def test_nobody_is_flooded_with_invitations(town, stubs, refused):
    owner = town.someone()
    acme, other = town.organization(owner), town.organization(owner)
    invited = invite(town, stubs, town.by(owner, acme))
    again = pb.ResendInvitationRequest(user_id=invited.id)
    for _ in range(3):
        stubs.organizations.ResendInvitation(again, metadata=town.by(owner, acme))
    invite(town, stubs, town.by(owner, other))
    with refused() as refusal:
        stubs.organizations.ResendInvitation(again, metadata=town.by(owner, acme))
    assert (refusal.info.reason, refusal.code) == ("TOO_MANY_ATTEMPTS", grpc.StatusCode.RESOURCE_EXHAUSTED)
    stubs.organizations.RemoveUser(pb.RemoveUserRequest(user_id=invited.id), metadata=town.by(owner, acme))
    with refused() as refusal:
        invite(town, stubs, town.by(owner, acme))
    assert refusal.info.reason == "TOO_MANY_ATTEMPTS"
    assert len(town.mails(town.new_email)) == 5
    invite(town, stubs, town.by(owner, acme), f"another.{town.new_email}")
    town.clock.at += timedelta(hours=1)
    invite(town, stubs, town.by(owner, acme))


def test_a_repeated_request_invites_once(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    by_owner = town.by(owner, acme, idempotency_key="again")
    assert invite(town, stubs, by_owner) == invite(town, stubs, by_owner)
    assert len(town.mails(town.new_email)) == 1


def test_a_link_works_once_for_the_invited_alone_and_dies_when_it_is_sent_again(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    new, eve = town.someone("New", town.new_email), town.someone("Eve")
    invited = invite(town, stubs, town.by(owner, acme))
    old = town.last_token()
    again = stubs.organizations.ResendInvitation(
        pb.ResendInvitationRequest(user_id=invited.id), metadata=town.by(owner, acme)
    )
    assert again.id == invited.id
    token = town.last_token()
    for someone, text, reason in (
        (eve, token, "INVITATION_FOR_ANOTHER"),
        (new, old, "LINK_USED"),
        (new, token[:-4] + "AAAA", "LINK_INVALID"),
        (new, "nonsense", "LINK_INVALID"),
    ):
        with refused() as refusal:
            accept(town, stubs, someone, text)
        assert refusal.info.reason == reason
    accept(town, stubs, new, token)
    with refused() as refusal:
        accept(town, stubs, new, token)
    assert refusal.info.reason == "LINK_USED"


def test_a_link_expires(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    invite(town, stubs, town.by(owner, acme))
    new = town.someone("New", town.new_email)
    token = town.last_token()
    town.clock.at += timedelta(days=7, seconds=1)
    with refused() as refusal:
        accept(town, stubs, new, token)
    assert refusal.info.reason == "LINK_EXPIRED"


def test_a_withdrawn_invitation_is_good_no_longer(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    invited = invite(town, stubs, town.by(owner, acme))
    token = town.last_token()
    stubs.organizations.RemoveUser(pb.RemoveUserRequest(user_id=invited.id), metadata=town.by(owner, acme))
    new = town.someone("New", town.new_email)
    with refused() as refusal:
        accept(town, stubs, new, token)
    assert refusal.info.reason == "LINK_USED"
    assert not town.rights(new, acme)


@pytest.mark.parametrize("fall", ["removed", "demoted"])
def test_whoever_has_lost_the_right_leaves_no_door_open(town, stubs, refused, fall):
    owner = town.someone()
    acme = town.organization(owner)
    former = town.joined(acme, "owner")
    invited = invite(town, stubs, town.by(former, acme), role="owner")
    token = town.last_token()
    if fall == "removed":
        town.members.remove(town.caller(owner, acme), former.id)
    else:
        town.members.change_role(town.caller(owner, acme), former.id, "manager")
    new = town.someone("New", town.new_email)
    with refused() as refusal:
        accept(town, stubs, new, token)
    assert refusal.info.reason == "LINK_INVALID"
    assert not town.rights(new, acme)
    # Whoever sends it again answers for it from then on.
    stubs.organizations.ResendInvitation(pb.ResendInvitationRequest(user_id=invited.id), metadata=town.by(owner, acme))
    assert accept(town, stubs, new, town.last_token()).role == "owner"


def test_an_invitations_role_is_changed_by_who_could_give_both(town, stubs, refused):
    owner = town.someone()
    acme = town.organization(owner)
    role = stubs.roles.CreateRole(
        roles_pb2.CreateRoleRequest(
            name="Editor", permissions=[Permission.USERS_CREATE, Permission.USERS_UPDATE, Permission.USERS_DELETE]
        ),
        metadata=town.by(owner, acme),
    )
    eve = town.joined(acme, role.code, "Eve")
    invited = invite(town, stubs, town.by(owner, acme), role="manager")
    for call, request in (
        (stubs.organizations.UpdateUser, pb.UpdateUserRequest(user_id=invited.id, role=role.code)),
        (stubs.organizations.RemoveUser, pb.RemoveUserRequest(user_id=invited.id)),
        (stubs.organizations.ResendInvitation, pb.ResendInvitationRequest(user_id=invited.id)),
    ):
        with refused() as refusal:
            call(request, metadata=town.by(eve, acme))
        assert refusal.info.reason == "RIGHTS_EXCEEDED"
    changed = stubs.organizations.UpdateUser(
        pb.UpdateUserRequest(user_id=invited.id, role=role.code), metadata=town.by(owner, acme)
    )
    assert (changed.role, changed.state) == (role.code, pb.Member.INVITED)
    new = town.someone("New", town.new_email)
    assert accept(town, stubs, new, town.last_token()).role == role.code


def test_a_member_does_not_join_again(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    invite(town, stubs, town.by(owner, acme))
    token = town.last_token()
    new = town.someone("New", town.new_email)
    with pytest.raises(AppError, match="member") as refusal, town.db.transaction() as tx:
        town.invitations.accept(tx, token, owner.id, new.email)
    assert type(refusal.value).__name__ == "MemberExists"


def test_signing_up_can_join_in_its_own_transaction(town, stubs):
    owner = town.someone()
    acme = town.organization(owner)
    invite(town, stubs, town.by(owner, acme))
    token = town.last_token()
    new = town.someone("New", town.new_email)
    with town.db.transaction() as tx:
        membership = town.invitations.accept(tx, token, new.id, town.new_email.upper())
    assert membership.organization.id == acme
