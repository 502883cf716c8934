"""Calls that only the operator may make, straight to a service: they have no HTTP binding."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

from adctl.keys import OPERATOR, Keys
from adctl.ports import LOOPBACK
from adctl.state import State
from adlib.identity import SignedIdentity, private_key
from adlib.rpc import Remote


@contextmanager
def operator(state: State, service: str, timeout_s: float) -> Iterator[Remote]:
    """The service, called as the operator."""
    identity = SignedIdentity(OPERATOR, private_key(Keys(state.paths.keys).of(OPERATOR).read_text()))
    address = f"{LOOPBACK}:{state.ports[service]}"
    with closing(Remote(service, address, identity, timeout_s=timeout_s)) as remote:
        yield remote
