"""Roles and permissions in the database."""

from collections.abc import Iterable, Mapping

from sqlalchemy import bindparam, delete
from sqlalchemy.dialects.postgresql import insert

from adlib.db import Query, Transaction
from auth_service.roles.model import Role
from auth_service.tables import permissions, role_permissions, roles

_new_permission = insert(permissions).values(code=bindparam("code"), name=bindparam("name"))
_PUT_PERMISSION = Query(
    _new_permission.on_conflict_do_update(
        index_elements=[permissions.c.code], set_={"name": _new_permission.excluded.name}
    )
)
_new_role = insert(roles).values(
    code=bindparam("code"), name=bindparam("name"), description=bindparam("description")
)  # fmt: skip
_PUT_ROLE = Query(
    _new_role.on_conflict_do_update(
        index_elements=[roles.c.code],
        set_={"name": _new_role.excluded.name, "description": _new_role.excluded.description},
    )
)
_CLEAR_GRANTS = Query(delete(role_permissions).where(role_permissions.c.role_code == bindparam("role")))
_GRANT = Query(insert(role_permissions).values(role_code=bindparam("role"), permission_code=bindparam("permission")))


def put(tx: Transaction, titles: Mapping[int, str], known: Iterable[Role]) -> None:
    """Makes the database's permissions and roles these."""
    tx.execute_many(_PUT_PERMISSION, [{"code": code, "name": title} for code, title in titles.items()])
    for role in known:
        tx.execute(_PUT_ROLE, code=role.code, name=role.name, description=role.description)
        tx.execute(_CLEAR_GRANTS, role=role.code)
        tx.execute_many(_GRANT, [{"role": role.code, "permission": code} for code in role.permissions])
