"""Postback keys: what a partner's server proves with that it may report conversions of a pixel."""

import base64
import hashlib
import hmac
from uuid import UUID

_LENGTH = 32


class PostbackKeys:
    """Derives every pixel's key from the service's own, so there is none to store."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, pixel_id: UUID) -> str:
        """The pixel's key, 32 characters that are good in a URL."""
        mac = hmac.digest(self._key, b"postback:" + pixel_id.bytes, hashlib.sha256)
        return base64.urlsafe_b64encode(mac)[:_LENGTH].decode()

    def fits(self, given: str, pixel_id: UUID) -> bool:
        """Whether it is the pixel's key; takes as long for a near miss as for any other."""
        return hmac.compare_digest(given.encode(errors="replace"), self.of(pixel_id).encode())
