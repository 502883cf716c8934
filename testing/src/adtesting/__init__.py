"""Shared by all tests: identities, servers in the test's process, and waiting with a deadline."""

from adtesting.audit import FakeAuditTrail
from adtesting.identities import Identities
from adtesting.servers import FakeAccess, running, stub_channel
from adtesting.waiting import eventually

__all__ = ["FakeAccess", "FakeAuditTrail", "Identities", "eventually", "running", "stub_channel"]
