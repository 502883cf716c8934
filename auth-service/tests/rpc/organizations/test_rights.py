"""Whatever people do to roles, members, invitations and keys, in whatever order: nobody gets a right that whoever
gave it to them lacked."""

from uuid import UUID

from adplatform.auth.v1 import api_keys_pb2 as keys_pb
from adplatform.auth.v1 import organizations_pb2 as pb
from adplatform.auth.v1 import roles_pb2
from adplatform.options.v1.options_pb2 import Permission
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from adlib.errors import FailedPrecondition, InvalidArgument, PermissionDenied
from adlib.idempotency import Idempotency
from auth_service.api_keys.service import NewApiKey
from auth_service.organizations.acting import rights_of
from auth_service.organizations.store import lock
from auth_service.roles.model import RIGHTS_OF_KIND

PEOPLE = 4
# Those that let one change what others may, and a few to be had or not.
CODES = [
    Permission.USERS_CREATE,
    Permission.USERS_UPDATE,
    Permission.USERS_DELETE,
    Permission.ORGANIZATIONS_UPDATE,
    Permission.CAMPAIGNS_READ,
    Permission.CAMPAIGNS_START,
    Permission.PAYMENTS_APPROVE,
    Permission.PUBLISHERS_PAYOUT,
    Permission.ADMIN_FULL,
]
who = st.integers(0, PEOPLE - 1)
number = st.integers(0, 5)
codes = st.frozensets(st.sampled_from(CODES), min_size=1)
operations = st.one_of(
    st.tuples(st.just("create_role"), who, codes),
    st.tuples(st.just("update_role"), who, number, codes),
    st.tuples(st.just("assign"), who, who, number),
    st.tuples(st.just("invite"), who, number),
    st.tuples(st.just("make_key"), who, codes),
)


class Play:
    """An organization, its owner, three who begin with little, and what they try."""

    def __init__(self, town, kind):
        self.town = town
        self.owner = town.someone("Owner")
        self.id = town.organization(self.owner, kind)
        self.kind = kind
        self.roles = ["manager", "member", "owner", "admin"]
        start = self.attempt("create_role", 0, CODES[:4], people=[self.owner])
        self.people = [self.owner] + [town.joined(self.id, start or "member") for _ in range(PEOPLE - 1)]

    def attempt(self, name, actor, *arguments, people=None):
        caller = self.town.caller((people or self.people)[actor], self.id)
        try:
            return getattr(self, name)(caller, *arguments)
        except (PermissionDenied, InvalidArgument, FailedPrecondition):
            return None

    def create_role(self, caller, granted):
        idempotency = unrepeated(caller, lambda role: roles_pb2.Role(code=role.code), roles_pb2.Role)
        code = self.town.roles.create(caller, f"Role {len(self.roles)}", "", granted, idempotency).code
        self.roles.append(code)
        return code

    def update_role(self, caller, index, granted):
        code = self.roles[-1 - index % len(self.roles)]
        self.town.roles.update(caller, code, f"Renamed {code}", "", granted)

    def assign(self, caller, target, index):
        self.town.members.change_role(caller, self.people[target].id, self.roles[-1 - index % len(self.roles)])

    def invite(self, caller, index):
        new = self.town.someone("New")
        idempotency = unrepeated(caller, lambda member: pb.Member(id=str(member.id)), pb.Member)
        self.town.invitations.invite(caller, new.email, self.roles[-1 - index % len(self.roles)], idempotency)
        self.town.invitations.join(self.town.last_token(), new.id)
        self.people.append(new)

    def make_key(self, caller, granted):
        idempotency = unrepeated(caller, lambda key: keys_pb.ApiKey(id=str(key.id)), keys_pb.ApiKey)
        self.town.keys.create(caller, NewApiKey("x", granted, None, []), idempotency)
        return granted

    def rights(self) -> dict[UUID, frozenset[int]]:
        with self.town.db.transaction() as tx:
            tenant = lock(tx, self.id)
            return {one.id: rights_of(tx, tenant, one.id) for one in self.people}


def unrepeated(caller, render, answer):
    return Idempotency(caller.organization_id, "test", "", answer(), render, answer)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(["ADVERTISER", "PUBLISHER"]), st.lists(operations, min_size=3, max_size=12))
def test_nobody_gets_a_right_that_whoever_gave_it_lacked(town, kind, todo):
    play = Play(town, kind)
    for name, actor, *arguments in todo:
        before = play.rights()
        own = before[play.people[actor].id]
        done = play.attempt(name, actor, *arguments)
        for person, rights in play.rights().items():
            assert rights <= before.get(person, frozenset()) | own, (name, actor, arguments)
            assert rights <= RIGHTS_OF_KIND[kind]
        if name == "make_key" and done:
            assert done <= own
