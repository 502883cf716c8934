"""Wise's HTTP API."""

import json
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx

from adlib.clock import Clock, SystemClock
from adlib.errors import Unavailable
from adlib.telemetry import logger
from payment_service.http_responses import fetch
from payment_service.outage_detector import OutageDetector
from payment_service.providers.model import TransferStatus
from payment_service.providers.wise import messages
from payment_service.providers.wise.messages import Json
from payment_service.providers.wise.model import (
    OWN_TRANSFER_PREFIX,
    RETURNED_STATES,
    STATEMENT_MARGIN,
    StatementLine,
    TransferMovements,
    returned_status,
    statement_intervals,
    transfer_status,
    unique_lines,
)

# Wise waits 5 s for the response to a webhook, which needs a statement.
_GET_TIMEOUT = httpx.Timeout(3.0, connect=1.0)
_GET_DEADLINE_S = 4.0
_POST_TIMEOUT = httpx.Timeout(6.0, connect=2.0)
_CACHE_TTL_S = 600.0
_log = logger(__name__)


class WiseRejected(Exception):
    """Wise refuses the request permanently; `field` is the path of the field that it rejects."""

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class WiseClient:
    """Calls the API for one profile. Every method raises UNAVAILABLE.

    `statement_health` ends an outage only when a statement was read: without one nothing can be credited.
    """

    def __init__(self, url: str, token: str, profile_id: int, clock: Clock | None = None) -> None:
        self.profile_id = profile_id
        self.statement_health = OutageDetector(clock or SystemClock())
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_GET_TIMEOUT, follow_redirects=False
        )
        self._cache: dict[str, tuple[float, Sequence[Json]]] = {}

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def account_instructions(self, currency_code: str) -> Mapping[str, str]:
        """The account that receives the currency, as the contract's WiseInstructions; empty: there is none."""
        details = self._cached_list(f"/v1/profiles/{self.profile_id}/account-details")
        return messages.account_instructions(details, currency_code)

    def statement(
        self, currency_code: str, since: datetime, until: datetime, balance_id: int | None = None
    ) -> Sequence[StatementLine]:
        """The currency's statement, oldest line first; empty if the profile has no such balance."""
        balance_id = balance_id or self._balance_id(currency_code)
        if balance_id is None or since >= until:
            self.statement_health.record_success()
            return []
        statement = self._get(
            f"/v1/profiles/{self.profile_id}/balance-statements/{balance_id}/statement.json",
            currency=currency_code,
            type="COMPACT",
            intervalStart=messages.format_time(since),
            intervalEnd=messages.format_time(until),
        )
        self.statement_health.record_success()
        return messages.statement_lines(statement)

    def transfer(self, transfer_id: str) -> Json | None:
        """One of the profile's transfers; None if there is none with this id."""
        found = self._get(f"/v1/transfers/{transfer_id}")
        return found if isinstance(found, dict) else None

    def transfer_status(self, transfer: Json, now: datetime, sent_micros: int | None = None) -> TransferStatus:
        """The transfer's status; for a returned one, the statement is read for the returned amount.

        `sent_micros` is the transfer's own amount unless given.
        """
        state = str(transfer.get("status"))
        if state not in RETURNED_STATES:
            return transfer_status(state)
        if sent_micros is None:
            sent_micros = messages.sent_micros(transfer)
        return returned_status(state, self._movements(transfer, now), sent_micros)

    def post(self, path: str, body: str) -> Json:
        """Posts JSON; `WiseRejected`."""
        headers = {"Content-Type": "application/json"}
        try:
            response = self._client.request("POST", path, content=body, headers=headers, timeout=_POST_TIMEOUT)
            found = json.loads(response.content, parse_float=Decimal) if response.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"Wise does not answer: {type(error).__name__}") from error
        if response.status_code in (400, 422):
            raise _rejection(found)
        if not response.is_success or not isinstance(found, dict):
            # These include a wrong token or profile in the configuration, which must not fail a publisher's payout.
            _log.error("wise_failed", path=path, status=response.status_code)
            raise Unavailable(f"Wise returns status {response.status_code}")
        return found

    def _movements(self, transfer: Json, until: datetime) -> TransferMovements:
        currency_code = str(transfer.get("sourceCurrency"))
        number = f"{OWN_TRANSFER_PREFIX}{transfer.get('id')}"
        since = messages.transfer_created_at(transfer) - STATEMENT_MARGIN
        lines = [
            line for interval in statement_intervals(since, until) for line in self.statement(currency_code, *interval)
        ]
        own = unique_lines([line for line in lines if line.reference_number == number])
        return TransferMovements(
            debited_micros=sum(line.amount_micros for line in own if not line.is_credit),
            credited_micros=sum(line.amount_micros for line in own if line.is_credit),
            is_same_currency=transfer.get("targetCurrency") == currency_code,
        )

    def _balance_id(self, currency_code: str) -> int | None:
        balances = self._cached_list(f"/v4/profiles/{self.profile_id}/balances", types="STANDARD")
        return next((int(one["id"]) for one in balances if one.get("currency") == currency_code), None)

    def _cached_list(self, path: str, **query: str) -> Sequence[Json]:
        """A list that hardly ever changes, cached for ten minutes."""
        expires_at, cached = self._cache.get(path, (0.0, []))
        if time.monotonic() < expires_at:
            return cached
        found = self._get(path, **query)
        if not isinstance(found, list):
            raise Unavailable("Wise returned something other than a list")
        self._cache[path] = (time.monotonic() + _CACHE_TTL_S, found)
        return found

    def _get(self, path: str, **query: str) -> Any:
        try:
            status, body = fetch(self._client, "GET", path, _GET_DEADLINE_S, params=query)
            found = json.loads(body, parse_float=Decimal) if body else None
        except (httpx.HTTPError, ValueError) as error:
            self.statement_health.record_failure("Wise does not answer")
            raise Unavailable(f"Wise does not answer: {type(error).__name__}") from error
        if status == httpx.codes.NOT_FOUND:
            return None
        if not httpx.codes.is_success(status):
            # These include a wrong token or profile in the configuration, and a statement that needs a second factor.
            _log.error("wise_failed", path=path, status=status)
            self.statement_health.record_failure(f"Wise returns status {status}")
            raise Unavailable(f"Wise returns status {status}")
        return found


def _rejection(found: Any) -> WiseRejected:
    errors = found.get("errors") if isinstance(found, dict) else None
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    return WiseRejected(str(first.get("message") or "no reason given"), str(first.get("path") or ""))
