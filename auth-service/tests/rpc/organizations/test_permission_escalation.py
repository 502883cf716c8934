"""No sequence of changes to roles, members, invitations and keys grants a permission that its grantor lacked."""

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
from auth_service.authorization.model import MAX_PERMISSIONS
from auth_service.authorization.service import permissions_of
from auth_service.tenancy.store import lock

PEOPLE = 4
# The permissions to change those of others, and a few more.
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


class Scenario:
    """An organization, its owner, three members with few permissions, and what they attempt."""

    def __init__(self, env, kind):
        self.env = env
        self.owner = env.add_user("Owner")
        self.id = env.add_organization(self.owner, kind)
        self.kind = kind
        self.roles = ["manager", "member", "owner", "admin"]
        start = self.attempt("create_role", 0, CODES[:4], people=[self.owner])
        self.people = [self.owner] + [env.add_member(self.id, start or "member") for _ in range(PEOPLE - 1)]

    def attempt(self, name, actor, *arguments, people=None):
        caller = self.env.caller((people or self.people)[actor], self.id)
        try:
            return getattr(self, name)(caller, *arguments)
        except (PermissionDenied, InvalidArgument, FailedPrecondition):
            return None

    def create_role(self, caller, granted):
        idempotency = first_call(caller, lambda role: roles_pb2.Role(code=role.code), roles_pb2.Role)
        code = self.env.roles.create(caller, f"Role {len(self.roles)}", "", granted, idempotency).code
        self.roles.append(code)
        return code

    def update_role(self, caller, index, granted):
        code = self.roles[-1 - index % len(self.roles)]
        self.env.roles.update(caller, code, f"Renamed {code}", "", granted)

    def assign(self, caller, target, index):
        self.env.members.change_role(caller, self.people[target].id, self.roles[-1 - index % len(self.roles)])

    def invite(self, caller, index):
        new = self.env.add_user("New")
        idempotency = first_call(caller, lambda member: pb.Member(id=str(member.id)), pb.Member)
        self.env.invitations.invite(caller, new.email, self.roles[-1 - index % len(self.roles)], idempotency)
        self.env.acceptance.join(self.env.last_token(), new.id, new.person.session_id)
        self.people.append(new)

    def make_key(self, caller, granted):
        idempotency = first_call(caller, lambda key: keys_pb.ApiKey(id=str(key.id)), keys_pb.ApiKey)
        self.env.keys.create(caller, NewApiKey("x", granted, None, []), idempotency)
        return granted

    def permissions(self) -> dict[UUID, frozenset[int]]:
        with self.env.db.transaction() as tx:
            tenant = lock(tx, self.id)
            return {one.id: permissions_of(tx, tenant, one.id) for one in self.people}


def first_call(caller, render, answer):
    return Idempotency(caller.organization_id, "test", "", answer(), render, answer)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(st.sampled_from(["ADVERTISER", "PUBLISHER"]), st.lists(operations, min_size=3, max_size=12))
def test_no_sequence_of_changes_escalates_permissions(env, kind, todo):
    scenario = Scenario(env, kind)
    for name, actor, *arguments in todo:
        before = scenario.permissions()
        own = before[scenario.people[actor].id]
        done = scenario.attempt(name, actor, *arguments)
        for user_id, granted in scenario.permissions().items():
            assert granted <= before.get(user_id, frozenset()) | own, (name, actor, arguments)
            assert granted <= MAX_PERMISSIONS[kind]
        if name == "make_key" and done:
            assert done <= own
