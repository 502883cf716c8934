"""Fakes for payment-service."""

from collections.abc import Mapping
from uuid import UUID

from adlib.errors import Unavailable


class FakeOrganizations:
    """Organizations' names in memory. `calls` counts requests; while `is_down`, every request fails."""

    def __init__(self, names: Mapping[UUID, str] | None = None) -> None:
        self.names = dict(names or {})
        self.calls = 0
        self.is_down = False

    def name(self, organization_id: UUID) -> str:
        """The organization's name; empty if it does not exist. UNAVAILABLE while `is_down`."""
        self.calls += 1
        if self.is_down:
            raise Unavailable("auth-service does not answer; try again")
        return self.names.get(organization_id, "")
