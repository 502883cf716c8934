"""Fixtures of every test in the tree: one PostgreSQL and one Valkey a run, a database a test."""

pytest_plugins = ["adctl.pytest_servers"]
