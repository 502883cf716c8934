"""Click ids, which a click adds to the landing page's URL and a conversion reports.

Click ids are not stored: each carries its click's event, pixel and zone, signed. An id with any changed bit is invalid.
"""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from adlib.errors import InvalidField

LIFETIME = timedelta(days=90)

_ID_BYTES = 16
_MAC_BYTES = 16


@dataclass(frozen=True, slots=True)
class Click:
    """A counted click."""

    event_id: UUID
    pixel_id: UUID
    zone_id: UUID | None

    @property
    def time(self) -> datetime:
        """When the click happened: a UUIDv7 starts with the milliseconds since 1970."""
        return datetime.fromtimestamp((self.event_id.int >> 80) / 1000, UTC)


class ClickIds:
    """Signs clicks and verifies click ids."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, click: Click) -> str:
        """The click's id: 64 characters of URL-safe base64, or 86 with a zone."""
        body = click.event_id.bytes + click.pixel_id.bytes + (click.zone_id.bytes if click.zone_id else b"")
        return base64.urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def verify(self, click_id: str, now: datetime, field: str) -> Click:
        """The click with this id, at most 90 days old; INVALID_FIELD naming `field`."""
        try:
            raw = base64.b64decode(click_id + "=" * (-len(click_id) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raw = b""
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if len(body) not in (2 * _ID_BYTES, 3 * _ID_BYTES) or not hmac.compare_digest(mac, self._mac(body)):
            raise InvalidField(field, "is not a click id that this platform issued")
        event_id, pixel_id, zone_id = body[:_ID_BYTES], body[_ID_BYTES : 2 * _ID_BYTES], body[2 * _ID_BYTES :]
        click = Click(UUID(bytes=event_id), UUID(bytes=pixel_id), UUID(bytes=zone_id) if zone_id else None)
        if now - click.time > LIFETIME:
            raise InvalidField(field, f"has expired; a click id is valid for {LIFETIME.days} days")
        return click

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, b"click:" + body, hashlib.sha256)[:_MAC_BYTES]
