"""The names of organizations, from auth-service."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Protocol
from uuid import UUID

from adplatform.auth.v1 import auth_pb2 as pb
from adplatform.auth.v1 import auth_pb2_grpc

from adlib.errors import AppError
from adlib.rpc import Remote
from adlib.telemetry import logger

# A client waits for the receipt, which can be issued without the name.
_TIMEOUT_S = 2.0
_CACHE_TTL_S = 180.0
_MAX_CACHED = 10_000

_log = logger(__name__)


class Organizations(Protocol):
    """Reads organizations' names."""

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty if it does not exist. UNAVAILABLE, DEADLINE_EXCEEDED."""
        ...


class RemoteOrganizations:
    """The organizations of auth-service."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._stub = auth_pb2_grpc.AccessServiceStub(remote.channel)

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty if it does not exist. UNAVAILABLE, DEADLINE_EXCEEDED."""
        request = pb.GetOrganizationNameRequest(organization_id=str(organization_id))
        return self._remote.call(self._stub.GetOrganizationName, request, within_s=_TIMEOUT_S).name


class OrganizationNames:
    """Organizations' names, cached for three minutes; an outage yields an empty name, which is logged."""

    def __init__(
        self,
        organizations: Organizations,
        *,
        max_cached: int = _MAX_CACHED,
        monotonic_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._organizations = organizations
        self._max_cached = max_cached
        self._monotonic_s = monotonic_s
        self._cache: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def get(self, organization_id: UUID) -> str:
        """The organization's name; empty if it does not exist, or in an outage. Not to be called in a transaction."""
        cached = self._cache.get(organization_id)
        if cached is not None and cached[1] > self._monotonic_s():
            return cached[0]
        try:
            name = self._organizations.name(organization_id)
        except AppError as error:
            _log.warning("receipt_without_name", organization_id=str(organization_id), error=error.message)
            return ""
        with self._lock:
            self._cache[organization_id] = (name, self._monotonic_s() + _CACHE_TTL_S)
            self._cache.move_to_end(organization_id)
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        return name
