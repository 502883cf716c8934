"""The peer: pycasbin, RBAC with domains, loaded with the same rights.

Roles are the same in every organization of a kind, so a grant names role and kind instead of every organization.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from itertools import islice

import casbin
import psutil
from adplatform.options.v1.options_pb2 import Permission
from bench.permissions import rights
from bench.permissions.rights import PEOPLE, Question
from casbin.model import FastModel, Model
from casbin.persist import Adapter

# The cheap comparisons come first, so that g() runs only where they hold.
_MODEL = """
[request_definition]
r = obj, act, sub, dom
[policy_definition]
p = obj, act, sub
[role_definition]
g = _, _, _
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.obj == p.obj && r.act == p.act && g(r.sub, p.sub, r.dom)
"""
# Which parts of a request FastEnforcer looks its policies up by.
_KEY = [0, 1]


class _Rights(Adapter):  # type: ignore[misc]  # it ships no types
    """Bypasses Model.add_policy(), which compares a new rule with every other one: 0.4 s for 6,000 rules."""

    def __init__(self, memberships: list[list[str]]) -> None:
        self._memberships = memberships

    def load_policy(self, model: Model) -> None:
        for role, kind, permission in rights.grants():
            model.add_policy("p", "p", [*_object_and_action(permission), f"{role}@{kind}"])
        model["g"]["g"].policy.extend(self._memberships)


def _memberships() -> Iterator[list[str]]:
    for number in range(PEOPLE):
        user_id = str(rights.person(number).user_id)
        for organization, role in rights.memberships(number):
            yield [user_id, f"{role}@{rights.kind(organization)}", str(rights.organization_id(organization))]


def _object_and_action(permission: int) -> list[str]:
    return Permission.Name(Permission.ValueType(permission)).split("_", 1)


class Casbin:
    """A loaded Casbin engine, and the time and memory that loading took."""

    def __init__(self, *, fast: bool) -> None:
        logging.getLogger("casbin").setLevel(logging.ERROR)
        before_mb = _resident_mb()
        policy = _Rights(list(_memberships()))
        started = time.perf_counter()
        model = FastModel(_KEY) if fast else Model()
        model.load_model_from_text(_MODEL)
        enforcer = casbin.FastEnforcer(model, policy, cache_key_order=_KEY) if fast else casbin.Enforcer(model, policy)
        self.enforce = enforcer.enforce
        self.load_s = time.perf_counter() - started
        self.load_mb = _resident_mb() - before_mb

    def allows(self, question: Question) -> bool:
        return bool(self.enforce(*request(question)))


def request(question: Question) -> tuple[str, ...]:
    """The question in Casbin's form."""
    return *_object_and_action(question.permission), str(question.person.user_id), str(question.organization_id)


def own_loading_s(counts: Sequence[int]) -> dict[int, float]:
    """Seconds that Casbin's own loading takes, by the number of memberships."""
    took = {}
    for count in counts:
        model = Model()
        model.load_model_from_text(_MODEL)
        rules = list(islice(_memberships(), count))
        started = time.perf_counter()
        for rule in rules:
            model.add_policy("g", "g", rule)
        took[count] = time.perf_counter() - started
    return took


def _resident_mb() -> float:
    return float(psutil.Process().memory_info().rss) / 2**20
