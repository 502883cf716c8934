"""Built-in and custom roles in the database."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from sqlalchemy import bindparam, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from adlib.db import Query, Session, Transaction, UniqueViolated
from auth_service.authorization.model import Role
from auth_service.authorization.store import IN_ORGANIZATION, IS_BUILT_IN, ROLES, to_role
from auth_service.roles.model import RoleExists
from auth_service.tables import invitations, permissions, role_permissions, roles, user_roles

_new_permission = upsert(permissions).values(code=bindparam("code"), name=bindparam("name"))
_UPSERT_PERMISSION = Query(
    _new_permission.on_conflict_do_update(
        index_elements=[permissions.c.code], set_={"name": _new_permission.excluded.name}
    )
)
_new_role = upsert(roles).values(
    code=bindparam("code"), name=bindparam("name"), description=bindparam("description")
)  # fmt: skip
_UPSERT_ROLE = Query(
    _new_role.on_conflict_do_update(
        index_elements=[roles.c.code],
        set_={"name": _new_role.excluded.name, "description": _new_role.excluded.description},
        where=roles.c.organization_id.is_(None),
    )
)
_PERMISSIONS = Query(select(permissions.c.code, permissions.c.name))
_CLEAR_GRANTS = Query(delete(role_permissions).where(role_permissions.c.role_code == bindparam("role")))
_GRANT = Query(insert(role_permissions).values(role_code=bindparam("role"), permission_code=bindparam("permission")))

_BUILT_IN = Query(ROLES.where(IS_BUILT_IN))
_OF_ORGANIZATION = Query(ROLES.where(or_(IS_BUILT_IN, IN_ORGANIZATION)))
_OF_USER = Query(
    ROLES.where(
        or_(
            IS_BUILT_IN,
            roles.c.organization_id.in_(
                select(user_roles.c.organization_id).where(user_roles.c.user_id == bindparam("user_id"))
            ),
        )
    )
)
_ADD = Query(
    insert(roles).values(
        code=bindparam("code"), name=bindparam("name"), description=bindparam("description"),
        organization_id=bindparam("organization_id"), created_at=bindparam("at"),
    )
)  # fmt: skip
_own_role = (roles.c.code == bindparam("of_code")) & (roles.c.organization_id == bindparam("of_organization"))
_UPDATE = Query(
    update(roles).where(_own_role).values(name=bindparam("new_name"), description=bindparam("new_description"))
)
_DELETE = Query(delete(roles).where(_own_role))
_COUNT = Query(select(func.count().label("n")).where(roles.c.organization_id == bindparam("organization_id")))
_IS_USED = Query(
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
_DELETE_ACCEPTED_INVITATIONS = Query(
    delete(invitations).where(
        invitations.c.organization_id == bindparam("of_organization"),
        invitations.c.role_code == bindparam("of_code"),
        invitations.c.accepted_at.is_not(None),
    )
)


def upsert_built_in(tx: Transaction, titles: Mapping[int, str], built_in: Iterable[Role]) -> bool:
    """Stores the release's permissions and built-in roles; returns whether any of them has changed."""
    stored_titles = {row.code: row.name for row in tx.all(_PERMISSIONS)}
    new_titles = [{"code": code, "name": title} for code, title in titles.items() if stored_titles.get(code) != title]
    if new_titles:
        tx.execute_many(_UPSERT_PERMISSION, new_titles)
    stored = {row.code: (row.name, row.description, frozenset(row.codes or ())) for row in tx.all(_BUILT_IN)}
    changed = [role for role in built_in if stored.get(role.code) != (role.name, role.description, role.permissions)]
    for role in changed:
        tx.execute(_UPSERT_ROLE, code=role.code, name=role.name, description=role.description)
        _replace_grants(tx, role)
    return bool(new_titles or changed)


def of_organization(db: Session, organization_id: UUID) -> Sequence[Role]:
    """The built-in roles, then the organization's custom roles by name."""
    return [to_role(row) for row in db.all(_OF_ORGANIZATION, organization_id=organization_id)]


def of_user(db: Session, user_id: UUID) -> Sequence[Role]:
    """The built-in roles, then the custom roles of the user's organizations by name."""
    return [to_role(row) for row in db.all(_OF_USER, user_id=user_id)]


def count(db: Session, organization_id: UUID) -> int:
    """The number of the organization's custom roles."""
    row = db.one(_COUNT, organization_id=organization_id)
    return int(row.n) if row else 0


def add(tx: Transaction, role: Role, at: datetime) -> None:
    """Stores a new custom role; ROLE_EXISTS."""
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
    _replace_grants(tx, role)


def replace(tx: Transaction, role: Role) -> None:
    """Replaces a custom role; ROLE_EXISTS."""
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
    _replace_grants(tx, role)


def is_used(db: Session, organization_id: UUID, code: str) -> bool:
    """Whether members or open invitations have the role."""
    row = db.one(_IS_USED, organization_id=organization_id, code=code)
    return bool(row and row.used)


def remove(tx: Transaction, organization_id: UUID, code: str) -> None:
    """Deletes an unused custom role and the accepted invitations that still reference it."""
    tx.execute(_DELETE_ACCEPTED_INVITATIONS, of_organization=organization_id, of_code=code)
    tx.execute(_DELETE, of_organization=organization_id, of_code=code)


def _replace_grants(tx: Transaction, role: Role) -> None:
    tx.execute(_CLEAR_GRANTS, role=role.code)
    tx.execute_many(_GRANT, [{"role": role.code, "permission": code} for code in role.permissions])
