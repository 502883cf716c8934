"""Fixtures of every test in the tree: one PostgreSQL and one Valkey a run, a database a test."""

import structlog

pytest_plugins = ["adtesting.pytest_servers", "adtesting.pytest_groups"]

# Rich's traceback with the locals of each frame, structlog's default, takes 0.6 s for each error that is logged.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)
