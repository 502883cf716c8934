"""Reads callers' permissions and API keys."""

from datetime import datetime
from typing import Any
from uuid import UUID

from adplatform.auth.v1.auth_pb2 import Organization
from sqlalchemy import and_, bindparam, func, or_, select, update

from adlib import permissions as bits
from adlib.access import NO_ACCESS, Access
from adlib.db import Query, Session, Transaction
from adlib.identity import ApiKey
from auth_service.authorization.model import effective
from auth_service.tables import api_keys, organizations, role_permissions, sessions, user_roles, users

_codes = func.array_agg(role_permissions.c.permission_code).label("codes")
_is_verified = users.c.email_verified_at.is_not(None).label("is_verified")
_memberships = (
    user_roles.join(organizations, organizations.c.id == user_roles.c.organization_id)
    .join(users, users.c.id == user_roles.c.user_id)
    .outerjoin(role_permissions, role_permissions.c.role_code == user_roles.c.role_code)
)
_OF_MEMBER = Query(
    select(organizations.c.kind, _is_verified, _codes)
    .select_from(_memberships)
    .where(
        user_roles.c.user_id == bindparam("user_id"), user_roles.c.organization_id == bindparam("organization_id")
    )
    .group_by(organizations.c.kind, users.c.email_verified_at)
)  # fmt: skip
_OF_SESSION = Query(
    select(organizations.c.kind, _is_verified, _codes)
    .select_from(
        sessions.outerjoin(
            _memberships,
            and_(
                user_roles.c.user_id == sessions.c.user_id,
                user_roles.c.organization_id == bindparam("organization_id"),
            ),
        )
    )
    .where(
        sessions.c.id == bindparam("session_id"),
        sessions.c.user_id == bindparam("user_id"),
        sessions.c.ended_at.is_(None),
    )
    .group_by(organizations.c.kind, users.c.email_verified_at)
)
_NAME = Query(select(organizations.c.name).where(organizations.c.id == bindparam("organization")))
_API_KEY = Query(
    select(api_keys).where(
        api_keys.c.hash == bindparam("hash"),
        api_keys.c.revoked_at.is_(None),
        or_(api_keys.c.expires_at.is_(None), api_keys.c.expires_at > bindparam("at")),
    )
)
_MARK_USED = Query(
    update(api_keys)
    .where(
        api_keys.c.id == bindparam("key_id"),
        api_keys.c.organization_id == bindparam("organization"),
        or_(api_keys.c.last_used_at.is_(None), api_keys.c.last_used_at < bindparam("before")),
    )
    .values(last_used_at=bindparam("at"))
)


def of_session(db: Session, user_id: UUID, session_id: UUID, organization_id: UUID | None) -> Access | None:
    """The access of a session's user to the organization; None if the session has ended."""
    row = db.one(_OF_SESSION, user_id=user_id, session_id=session_id, organization_id=organization_id)
    return _access(row) if row else None


def of_member(db: Session, user_id: UUID, organization_id: UUID) -> Access:
    """The access of a user to the organization, whether they are signed in or not."""
    row = db.one(_OF_MEMBER, user_id=user_id, organization_id=organization_id)
    return _access(row) if row else NO_ACCESS


def _access(row: Any) -> Access:
    if row.kind is None:
        return NO_ACCESS
    granted = effective(row.kind, [code for code in row.codes if code is not None])
    return Access(True, Organization.Kind.Value(row.kind), bits.mask(granted), email_verified=row.is_verified)


def organization_name(db: Session, organization_id: UUID) -> str | None:
    """The organization's name; None if it does not exist."""
    row = db.one(_NAME, organization=organization_id)
    return row.name if row else None


def api_key_any_tenant(db: Session, hash: bytes, at: datetime) -> ApiKey | None:
    """The API key whose text has this SHA-256, unless it is revoked or expired."""
    row = db.one(_API_KEY, hash=hash, at=at)
    if row is None:
        return None
    return ApiKey(
        id=row.id,
        user_id=row.user_id,
        organization_id=row.organization_id,
        permissions=bits.mask(row.permissions),
        expires_at=row.expires_at,
        networks=tuple(row.allowed_cidrs),
    )


def mark_api_key_used(tx: Transaction, key: ApiKey, at: datetime, before: datetime) -> None:
    """Stores when the key was last used, unless that was stored after `before`."""
    tx.execute(_MARK_USED, key_id=key.id, organization=key.organization_id, at=at, before=before)
