"""Connections of the operator to a service, for the RPCs that have no HTTP binding."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from adctl.keys import OPERATOR, Keys
from adctl.ports import LOOPBACK
from adctl.state import State
from adlib.identity import SignedIdentity, private_key
from adlib.rpc import Remote


@contextmanager
def connect(state: State, service: str, timeout_s: float) -> Iterator[Remote]:
    """Yield a connection to the service whose calls carry the operator's token."""
    identity = SignedIdentity(OPERATOR, private_key(Keys(state.paths.keys).of(OPERATOR).read_text()))
    address = f"{LOOPBACK}:{state.ports[service]}"
    with closing(Remote(service, address, identity, timeout_s=timeout_s)) as remote:
        yield remote
