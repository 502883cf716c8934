"""Pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from adplatform.errors.v1.errors_pb2 import ErrorReason

from adlib.errors import NotFound

DEFAULT_GOAL = "conversion"


class PixelNotFound(NotFound):
    """There is no pixel with this id, or it was deleted."""

    reason = ErrorReason.PIXEL_NOT_FOUND

    def __init__(self, pixel_id: object) -> None:
        super().__init__("there is no such pixel", pixelId=pixel_id)


@dataclass(frozen=True, slots=True)
class Pixel:
    """A pixel, which measures one campaign; `target_url` and `currency_code` are copies of the campaign's."""

    id: UUID
    organization_id: UUID
    campaign_id: UUID
    name: str
    goals: Sequence[str]
    target_url: str
    currency_code: str
    created_at: datetime


def parse_pixel_id(text: str) -> UUID | None:
    """The pixel id in a tracking URL, in the canonical form of 36 characters; None if it is malformed."""
    if len(text) != 36:
        return None
    try:
        return UUID(text)
    except ValueError:
        return None
