"""Pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

DEFAULT_GOAL = "conversion"


class PixelNotFound(NotFound):
    """No pixel with that id, or it was deleted."""

    reason = ErrorReason.PIXEL_NOT_FOUND

    def __init__(self, pixel_id: object) -> None:
        super().__init__("there is no such pixel", pixelId=pixel_id)


@dataclass(frozen=True, slots=True)
class Pixel:
    """Counts for one campaign; `target_url` and `currency_code` are the campaign's."""

    id: UUID
    organization_id: UUID
    campaign_id: UUID
    name: str
    goals: Sequence[str]
    target_url: str
    currency_code: str
    created_at: datetime


def pixel_id(text: str) -> UUID | None:
    """The id in its canonical form of 36 characters, as it stands in tracking URLs; None where it is none."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
