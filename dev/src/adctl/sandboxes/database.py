"""Reads of the services' databases, for facts that no API of the platform shows."""

from typing import Any
from uuid import UUID

import psycopg

from adctl.sandboxes.client import SandboxError


def find_row(url: str, statement: str, id: UUID) -> tuple[Any, ...] | None:
    """Return the statement's first row for that id; SandboxError when the platform is not up."""
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(statement.encode(), (id,)).fetchone()
    except psycopg.errors.UndefinedTable:
        raise SandboxError("the services' tables do not exist yet; is the platform up?") from None
    except psycopg.OperationalError:
        raise SandboxError("PostgreSQL does not answer; is the platform up? (adctl status)") from None
