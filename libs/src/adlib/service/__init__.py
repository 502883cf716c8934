"""The parts of every service's `__main__`: settings, authorization, dependencies and commands."""

from adlib.redis_clients import connect_redis, connect_redis_for_calls
from adlib.service.authorization import Authorization, RemoteAccess, remote_authorization
from adlib.service.commands import main
from adlib.service.dependencies import Dependencies
from adlib.service.settings import CommonSettings, read_common

__all__ = [
    "Authorization",
    "CommonSettings",
    "Dependencies",
    "RemoteAccess",
    "connect_redis",
    "connect_redis_for_calls",
    "main",
    "read_common",
    "remote_authorization",
]
