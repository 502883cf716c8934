"""A gRPC server in the test's process, and channels to it."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

import grpc
from typing_extensions import override

from adlib import api_key_format
from adlib.access import NO_ACCESS, Access, AccessSource, SessionEnded
from adlib.identity import ApiKey, Person
from adlib.permissions import mask
from adlib.rpc import Server, ServiceProcess, Settings


class FakeAccess(AccessSource):
    """An access source in memory, filled by the test."""

    def __init__(self) -> None:
        self._granted: dict[tuple[UUID, UUID], Access] = {}
        self._ended: set[UUID] = set()
        self._keys: dict[bytes, ApiKey] = {}

    def grant(self, person: Person, organization_id: UUID, kind: int, *codes: int, email_verified: bool = True) -> None:
        """Makes the person a member with these permissions."""
        self._granted[person.user_id, organization_id] = Access(True, kind, mask(codes), email_verified)

    def add_api_key(self, text: str, key: ApiKey) -> None:
        """Registers an API key with this text."""
        self._keys[api_key_format.hash_of(text)] = key

    def end_session(self, person: Person) -> None:
        """Ends the person's session."""
        self._ended.add(person.session_id)

    @override
    def access(self, person: Person, organization_id: UUID | None) -> Access:
        if person.session_id in self._ended:
            raise SessionEnded
        return self._granted.get((person.user_id, organization_id), NO_ACCESS) if organization_id else NO_ACCESS

    @override
    def api_key(self, hash: bytes) -> ApiKey | None:
        return self._keys.get(hash)


@contextmanager
def running(process: ServiceProcess) -> Iterator[Server]:
    """Serves the process on a free port during the block."""
    server = Server(process, Settings(service="test", ports=[0], drain_s=1.0), 0)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def stub_channel(server: Server) -> Iterator[grpc.Channel]:
    """A channel to a running server."""
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield channel
