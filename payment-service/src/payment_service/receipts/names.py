"""Organizations' names, remembered for a few minutes: they change rarely."""

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from uuid import UUID

from adlib.errors import AppError
from adlib.telemetry import logger
from payment_service.clients.organizations import Organizations

_FRESH_S = 180.0
_LIMIT = 10_000

_log = logger(__name__)


class Names:
    """Asks for names; a receipt is given without one rather than not at all."""

    def __init__(
        self, organizations: Organizations, *, limit: int = _LIMIT, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._organizations = organizations
        self._limit = limit
        self._now = now
        self._known: OrderedDict[UUID, tuple[str, float]] = OrderedDict()
        self._lock = Lock()

    def of(self, organization_id: UUID) -> str:
        """The organization's name; empty where it has none, or nobody tells it now. Not called in a transaction."""
        known = self._known.get(organization_id)
        if known is not None and known[1] > self._now():
            return known[0]
        try:
            name = self._organizations.name(organization_id)
        except AppError as error:
            _log.warning("receipt_without_name", organization_id=str(organization_id), error=error.message)
            return ""
        with self._lock:
            self._known[organization_id] = (name, self._now() + _FRESH_S)
            self._known.move_to_end(organization_id)
            if len(self._known) > self._limit:
                self._known.popitem(last=False)
        return name
