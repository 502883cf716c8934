"""PostgreSQL: statements are written in SQLAlchemy Core, compiled once and run by psycopg."""

from adlib.db.database import CheckViolated, Database, Session, Transaction, UniqueViolated, before_commit
from adlib.db.migrations import migrate, sources
from adlib.db.query import Query
from adlib.db.releases import ReleaseTooOld, require_compatible

__all__ = [
    "CheckViolated",
    "Database",
    "Query",
    "ReleaseTooOld",
    "Session",
    "Transaction",
    "UniqueViolated",
    "before_commit",
    "migrate",
    "require_compatible",
    "sources",
]
