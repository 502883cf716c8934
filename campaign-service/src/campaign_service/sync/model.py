"""The items that SyncStats works on."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID


@dataclass(frozen=True, slots=True)
class CampaignToSync:
    """A campaign whose figures at a network are read; `read_at` is the last time, or when the campaign was created."""

    organization_id: UUID
    campaign_id: UUID
    network: str
    external_id: str
    read_at: datetime

    def __str__(self) -> str:
        return f"campaign {self.campaign_id} at {self.network}"


@dataclass(frozen=True, slots=True)
class PendingOperation:
    """A campaign with an operation that was interrupted."""

    organization_id: UUID
    campaign_id: UUID

    def __str__(self) -> str:
        return f"campaign {self.campaign_id}, pending operation"
