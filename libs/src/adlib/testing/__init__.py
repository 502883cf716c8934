"""What tests of every service need: identities, a server in the test's process, and waiting with a deadline."""

from adlib.testing.audit import FakeAuditTrail
from adlib.testing.identities import Identities
from adlib.testing.servers import FakeAccess, running, stub_channel
from adlib.testing.waiting import eventually

__all__ = ["FakeAccess", "FakeAuditTrail", "Identities", "eventually", "running", "stub_channel"]
