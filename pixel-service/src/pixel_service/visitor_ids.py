"""Visitor ids, which distinguish a day's visitors without identifying them."""

import base64
import hashlib
import hmac
from datetime import UTC, datetime

_ID_BYTES = 12


class VisitorIds:
    """Hashes address and user agent with a key that changes daily (UTC)."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, at: datetime, address: str, user_agent: str) -> str:
        """16 characters; empty if the address is unknown."""
        if not address:
            return ""
        day = at.astimezone(UTC).date().isoformat()
        mac = hmac.digest(self._key, f"visitor:{day}\0{address}\0{user_agent}".encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(mac[:_ID_BYTES]).decode()
