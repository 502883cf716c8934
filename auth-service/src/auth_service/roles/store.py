"""Roles and permissions in the database."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adlib.db import Query, Session, Transaction, UniqueViolated
from auth_service.roles.model import BUILT_IN, Role, RoleExists
from auth_service.tables import invitations, organizations, permissions, role_permissions, roles, user_roles

# More than a person's organizations can be expected to have made together.
_LISTED = 2_000

_new_permission = upsert(permissions).values(code=bindparam("code"), name=bindparam("name"))
_PUT_PERMISSION = Query(
    _new_permission.on_conflict_do_update(
        index_elements=[permissions.c.code], set_={"name": _new_permission.excluded.name}
    )
)
_new_role = upsert(roles).values(
    code=bindparam("code"), name=bindparam("name"), description=bindparam("description")
)  # fmt: skip
_PUT_ROLE = Query(
    _new_role.on_conflict_do_update(
        index_elements=[roles.c.code],
        set_={"name": _new_role.excluded.name, "description": _new_role.excluded.description},
        where=roles.c.organization_id.is_(None),
    )
)
_PERMISSIONS = Query(select(permissions.c.code, permissions.c.name))
_CLEAR_GRANTS = Query(delete(role_permissions).where(role_permissions.c.role_code == bindparam("role")))
_GRANT = Query(insert(role_permissions).values(role_code=bindparam("role"), permission_code=bindparam("permission")))

_ITS_GRANTS = (
    select(func.array_agg(role_permissions.c.permission_code))
    .where(role_permissions.c.role_code == roles.c.code)
    .scalar_subquery()
    .label("codes")
)
_ROLE = (
    select(roles.c.code, roles.c.name, roles.c.description, roles.c.organization_id, organizations.c.kind, _ITS_GRANTS)
    .select_from(roles.outerjoin(organizations, organizations.c.id == roles.c.organization_id))
    .order_by(roles.c.organization_id.nulls_first(), func.lower(roles.c.name))
    .limit(_LISTED)
)  # fmt: skip
_its_own = roles.c.organization_id == bindparam("organization_id")
_everyones = roles.c.organization_id.is_(None)
_EVERYONES = Query(_ROLE.where(_everyones))
_FIND = Query(_ROLE.where(roles.c.code == bindparam("code"), or_(_everyones, _its_own)))
_OF_ORGANIZATION = Query(_ROLE.where(or_(_everyones, _its_own)))
_OF_PERSON = Query(
    _ROLE.where(
        or_(
            _everyones,
            roles.c.organization_id.in_(
                select(user_roles.c.organization_id).where(user_roles.c.user_id == bindparam("user_id"))
            ),
        )
    )
)
_OF_MEMBER = Query(
    _ROLE.where(
        roles.c.code.in_(
            select(user_roles.c.role_code).where(
                user_roles.c.user_id == bindparam("user_id"),
                user_roles.c.organization_id == bindparam("of_organization"),
            )
        )
    )
)
_ADD = Query(
    insert(roles).values(
        code=bindparam("code"), name=bindparam("name"), description=bindparam("description"),
        organization_id=bindparam("organization_id"), created_at=bindparam("at"),
    )
)  # fmt: skip
_mine = (roles.c.code == bindparam("of_code")) & (roles.c.organization_id == bindparam("of_organization"))
_UPDATE = Query(update(roles).where(_mine).values(name=bindparam("new_name"), description=bindparam("new_description")))
_DELETE = Query(delete(roles).where(_mine))
_COUNT = Query(select(func.count().label("n")).where(roles.c.organization_id == bindparam("organization_id")))
_IN_USE = Query(
    select(
        or_(
            exists().where(
                user_roles.c.organization_id == bindparam("organization_id"),
                user_roles.c.role_code == bindparam("code"),
            ),
            exists().where(
                invitations.c.organization_id == bindparam("organization_id"),
                invitations.c.role_code == bindparam("code"),
                invitations.c.accepted_at.is_(None),
            ),
        ).label("used")
    )
)
_FORGET_ACCEPTED = Query(
    delete(invitations).where(
        invitations.c.organization_id == bindparam("of_organization"),
        invitations.c.role_code == bindparam("of_code"),
        invitations.c.accepted_at.is_not(None),
    )
)


def put(tx: Transaction, titles: Mapping[int, str], known: Iterable[Role]) -> bool:
    """Makes the database's permissions and built-in roles these; whether anything was different."""
    kept_titles = {row.code: row.name for row in tx.all(_PERMISSIONS)}
    new_titles = [{"code": code, "name": title} for code, title in titles.items() if kept_titles.get(code) != title]
    if new_titles:
        tx.execute_many(_PUT_PERMISSION, new_titles)
    kept = {row.code: (row.name, row.description, frozenset(row.codes or ())) for row in tx.all(_EVERYONES)}
    changed = [role for role in known if kept.get(role.code) != (role.name, role.description, role.permissions)]
    for role in changed:
        tx.execute(_PUT_ROLE, code=role.code, name=role.name, description=role.description)
        _put_grants(tx, role)
    return bool(new_titles or changed)


def find(db: Session, organization_id: UUID, code: str) -> Role | None:
    """The role with this code, of every organization or of this one."""
    row = db.one(_FIND, organization_id=organization_id, code=code)
    return _made(row) if row else None


def of_organization(db: Session, organization_id: UUID) -> Sequence[Role]:
    """The roles of every organization, and this one's by name."""
    return [_made(row) for row in db.all(_OF_ORGANIZATION, organization_id=organization_id)]


def of_person(db: Session, user_id: UUID) -> Sequence[Role]:
    """The roles of every organization, and those of the person's organizations by name."""
    return [_made(row) for row in db.all(_OF_PERSON, user_id=user_id)]


def of_member(db: Session, organization_id: UUID, user_id: UUID) -> Role | None:
    """The role the person has in the organization; None where they are no member."""
    row = db.one(_OF_MEMBER, of_organization=organization_id, user_id=user_id)
    return _made(row) if row else None


def count(db: Session, organization_id: UUID) -> int:
    """How many roles the organization has made."""
    row = db.one(_COUNT, organization_id=organization_id)
    return int(row.n) if row else 0


def add(tx: Transaction, role: Role, at: datetime) -> None:
    """Stores an organization's new role; ROLE_EXISTS."""
    try:
        with tx.savepoint():
            tx.execute(
                _ADD,
                code=role.code,
                name=role.name,
                description=role.description,
                organization_id=role.organization_id,
                at=at,
            )
    except UniqueViolated as error:
        raise RoleExists(role.name) from error
    _put_grants(tx, role)


def replace(tx: Transaction, role: Role) -> None:
    """Stores what an organization's role has become; ROLE_EXISTS."""
    try:
        with tx.savepoint():
            tx.execute(
                _UPDATE,
                of_code=role.code,
                of_organization=role.organization_id,
                new_name=role.name,
                new_description=role.description,
            )
    except UniqueViolated as error:
        raise RoleExists(role.name) from error
    _put_grants(tx, role)


def in_use(db: Session, organization_id: UUID, code: str) -> bool:
    """Whether members or open invitations have the role."""
    row = db.one(_IN_USE, organization_id=organization_id, code=code)
    return bool(row and row.used)


def remove(tx: Transaction, organization_id: UUID, code: str) -> None:
    """Deletes an organization's role that nobody has, and with it the accepted invitations that still name it."""
    tx.execute(_FORGET_ACCEPTED, of_organization=organization_id, of_code=code)
    tx.execute(_DELETE, of_organization=organization_id, of_code=code)


def _put_grants(tx: Transaction, role: Role) -> None:
    tx.execute(_CLEAR_GRANTS, role=role.code)
    tx.execute_many(_GRANT, [{"role": role.code, "permission": code} for code in role.permissions])


def _made(row: Any) -> Role:
    built_in = BUILT_IN.get(row.code)
    return Role(
        code=row.code,
        name=row.name,
        description=row.description,
        permissions=frozenset(row.codes or ()),
        # One that this build does not know any more cannot be given to anybody.
        kinds=frozenset({row.kind}) if row.kind else built_in.kinds if built_in else frozenset(),
        organization_id=row.organization_id,
    )
