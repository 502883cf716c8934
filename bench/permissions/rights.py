"""The memberships that both engines get: 100,000 users, each in three organizations.

User n owns organization n, is a manager of the next one and a member of a distant one. Organization 0 is the PLATFORM.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import md5
from uuid import UUID

from adplatform.options.v1.options_pb2 import Permission

from adlib.identity import Person
from auth_service.authorization.model import ROLES, effective
from auth_service.tenancy.model import OWNER_ROLE

PEOPLE = 100_000
FAR_AWAY = 7_919
PERMISSIONS = tuple(code for code in Permission.values() if code)


@dataclass(frozen=True, slots=True)
class Question:
    """Whether a user has a permission in an organization."""

    person: Person
    organization_id: UUID
    permission: int


def _id(kind: str, number: int) -> UUID:
    return UUID(md5(f"{kind}-{number}".encode(), usedforsecurity=False).hexdigest())


def person(number: int) -> Person:
    return Person(_id("user", number), _id("session", number))


def organization_id(number: int) -> UUID:
    return _id("organization", number)


def kind(organization: int) -> str:
    if organization == 0:
        return "PLATFORM"
    return "PUBLISHER" if organization % 4 == 0 else "ADVERTISER"


def memberships(number: int) -> tuple[tuple[int, str], ...]:
    """A user's organizations and their role in each."""
    own, following, far = number, (number + 1) % PEOPLE, (number + FAR_AWAY) % PEOPLE
    return (own, OWNER_ROLE[kind(own)]), (following, "manager"), (far, "member")


def grants() -> Iterator[tuple[str, str, int]]:
    """Every role, kind of organization and permission that belong together."""
    for role in ROLES:
        for of_kind in sorted(role.kinds):
            for permission in sorted(effective(of_kind, role.permissions)):
                yield role.code, of_kind, permission


def questions(count: int, *, people: int = PEOPLE, seed: int = 1) -> list[Question]:
    """Random questions about `people` users: two of three about their own organizations, one about another's."""
    chance = random.Random(seed)
    numbers = chance.sample(range(PEOPLE), people)
    made = []
    for at in range(count):
        number = chance.choice(numbers)
        organization = chance.choice(memberships(number))[0] if at % 3 else chance.choice(numbers)
        if at % 100 == 1:
            number, organization = 0, 0  # the PLATFORM's admin, who has every permission
        made.append(Question(person(number), organization_id(organization), chance.choice(PERMISSIONS)))
    return made


def members(count: int, seed: int) -> list[tuple[Person, UUID]]:
    """Distinct random users, and one organization of each."""
    chance = random.Random(seed)
    numbers = chance.sample(range(PEOPLE), count)
    return [(person(number), organization_id(chance.choice(memberships(number))[0])) for number in numbers]
