"""API keys in the database."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import bindparam, func, insert, or_, select, update

from adlib.db import Query, Session, Transaction
from adlib.paging import Page
from auth_service.api_keys.model import ApiKey
from auth_service.tables import api_keys

_ADD = Query(
    insert(api_keys).values(
        id=bindparam("id"), organization_id=bindparam("organization_id"), user_id=bindparam("user_id"),
        made_by=bindparam("made_by"), name=bindparam("name"), prefix=bindparam("prefix"), hash=bindparam("hash"),
        permissions=bindparam("permissions"), allowed_cidrs=bindparam("allowed_cidrs"),
        created_at=bindparam("created_at"), expires_at=bindparam("expires_at"),
    )
)  # fmt: skip
_unrevoked = (api_keys.c.organization_id == bindparam("of_organization")) & api_keys.c.revoked_at.is_(None)
_PAGE = Query(
    select(
        api_keys.c.id, api_keys.c.organization_id, api_keys.c.user_id, api_keys.c.name, api_keys.c.prefix,
        api_keys.c.permissions, api_keys.c.allowed_cidrs, api_keys.c.created_at, api_keys.c.expires_at,
        api_keys.c.last_used_at,
    )
    .where(_unrevoked, api_keys.c.id < bindparam("before"))
    .order_by(api_keys.c.id.desc())
    .limit(bindparam("rows"))
)  # fmt: skip
_COUNT_LIVE = Query(
    select(func.count().label("n")).where(
        _unrevoked, or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("at"))
    )
)
_root = (
    select(api_keys.c.id)
    .where(api_keys.c.organization_id == bindparam("of_organization"), api_keys.c.id == bindparam("of_id"))
    .cte(recursive=True)
)
_descendants = _root.union(select(api_keys.c.id).join(_root, api_keys.c.made_by == _root.c.id))
_REVOKE = Query(
    update(api_keys)
    .where(_unrevoked, api_keys.c.id.in_(select(_descendants.c.id)))
    .values(revoked_at=bindparam("at"))
    .returning(api_keys.c.hash)
)
_REVOKE_OF_MEMBER = Query(
    update(api_keys)
    .where(_unrevoked, api_keys.c.user_id == bindparam("of_user"))
    .values(revoked_at=bindparam("at"))
    .returning(api_keys.c.hash)
)
_of_user = (api_keys.c.user_id == bindparam("of_user")) & api_keys.c.revoked_at.is_(None)
_REVOKE_OF_USER = Query(
    update(api_keys)
    .where(_of_user)
    .values(revoked_at=bindparam("at"))
    .returning(api_keys.c.hash, api_keys.c.name, api_keys.c.expires_at)
)
_HAS_LIVE = Query(
    select(api_keys.c.id)
    .where(_of_user, or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("at")))
    .limit(1)
)


def add(tx: Transaction, key: ApiKey, hash: bytes, parent_id: UUID | None) -> None:
    """Stores a new key by the hash of its text; `parent_id` is the key that created it."""
    tx.execute(
        _ADD,
        id=key.id,
        organization_id=key.organization_id,
        user_id=key.user_id,
        made_by=parent_id,
        name=key.name,
        prefix=key.prefix,
        hash=hash,
        permissions=sorted(key.permissions),
        allowed_cidrs=[str(network) for network in key.networks],
        created_at=key.created_at,
        expires_at=key.expires_at,
    )


def list_page(db: Session, organization_id: UUID, page: Page) -> Sequence[ApiKey]:
    """The keys that are not revoked, newest first."""
    found = db.all(_PAGE, of_organization=organization_id, before=page.before, rows=page.limit)
    return [_api_key(row) for row in found]


def count_live(db: Session, organization_id: UUID, at: datetime) -> int:
    """The number of keys that are neither revoked nor expired."""
    row = db.one(_COUNT_LIVE, of_organization=organization_id, at=at)
    return int(row.n) if row else 0


def revoke(tx: Transaction, organization_id: UUID, api_key_id: UUID, at: datetime) -> Sequence[bytes]:
    """Revokes the key and its descendants; returns the hashes of those that were not revoked before."""
    return [bytes(row.hash) for row in tx.all(_REVOKE, of_organization=organization_id, of_id=api_key_id, at=at)]


def revoke_of_member(tx: Transaction, organization_id: UUID, user_id: UUID, at: datetime) -> Sequence[bytes]:
    """Revokes all keys of the member in the organization; returns their hashes."""
    return [
        bytes(row.hash) for row in tx.all(_REVOKE_OF_MEMBER, of_organization=organization_id, of_user=user_id, at=at)
    ]


def revoke_of_user_any_tenant(tx: Transaction, user_id: UUID, at: datetime) -> Mapping[bytes, str]:
    """Revokes all keys of the user in every organization; returns the names of those that were live, by hash."""
    rows = tx.all(_REVOKE_OF_USER, of_user=user_id, at=at)
    return {bytes(row.hash): row.name for row in rows if row.expires_at is None or row.expires_at > at}


def has_live_any_tenant(db: Session, user_id: UUID, at: datetime) -> bool:
    """Whether the user has a live key in any organization."""
    return db.one(_HAS_LIVE, of_user=user_id, at=at) is not None


def _api_key(row: Any) -> ApiKey:
    fields = row._asdict()
    networks = tuple(fields.pop("allowed_cidrs"))
    return ApiKey(**{**fields, "permissions": frozenset(row.permissions), "networks": networks})
