"""Postback keys, which authorize a partner's server to report conversions of a pixel."""

import base64
import hashlib
import hmac
from uuid import UUID

_KEY_CHARACTERS = 32


class PostbackKeys:
    """Derives each pixel's key from the service's signing key, so no key is stored."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, pixel_id: UUID) -> str:
        """The pixel's key: 32 characters of URL-safe base64."""
        mac = hmac.digest(self._key, b"postback:" + pixel_id.bytes, hashlib.sha256)
        return base64.urlsafe_b64encode(mac)[:_KEY_CHARACTERS].decode()

    def is_valid(self, key: str, pixel_id: UUID) -> bool:
        """Whether this is the pixel's key, compared in constant time."""
        return hmac.compare_digest(key.encode(errors="replace"), self.of(pixel_id).encode())
