"""The services' databases and roles in the platform's PostgreSQL."""

from typing import LiteralString

from adctl.errors import UserError
from adctl.state import DATABASES, State


def make_database(state: State, service: str) -> None:
    """Create a service's database and the role that owns it, and only it, unless they exist.

    UserError if a later release wrote the data: the service would refuse to start again and again.
    """
    import psycopg
    from psycopg import sql

    from adlib.db import require_compatible
    from adlib.errors import AppError

    role = DATABASES[service]
    name, password = sql.Identifier(role), sql.Literal(state.secrets[f"postgres.{role}"])
    with psycopg.connect(state.postgres_url(), autocommit=True, connect_timeout=10) as connection:

        def exists(query: LiteralString) -> bool:
            return connection.execute(query, [role]).fetchone() is not None

        verb = sql.SQL("ALTER" if exists("SELECT FROM pg_roles WHERE rolname = %s") else "CREATE")
        connection.execute(sql.SQL("{} ROLE {} LOGIN PASSWORD {}").format(verb, name, password))
        if not exists("SELECT FROM pg_database WHERE datname = %s"):
            connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(name, name))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
    try:
        require_compatible(state.database_url(service))
    except AppError as error:
        raise UserError(f"the data in {state.paths.home} is not for this platform: {error.message}") from None
