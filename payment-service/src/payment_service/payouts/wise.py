"""Bank transfers, by Wise."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx

from adlib.errors import Unavailable
from adlib.money import to_decimal
from adlib.telemetry import logger
from payment_service.payouts.bank import QuoteUnusable, Refused, Standing
from payment_service.payouts.model import Payout, State
from payment_service.providers.wise.api import Moved, WiseApi, micros

NAME = "WISE"

_TIMEOUT = httpx.Timeout(6.0, connect=2.0)
# States that Wise may add later say nothing to us.
_STATES = {
    "incoming_payment_waiting": State.SENDING,
    "incoming_payment_initiated": State.SENDING,
    "processing": State.PROCESSING,
    "funds_converted": State.PROCESSING,
    "outgoing_payment_sent": State.PAID,
    # Not the end: Wise delivers it later, or cancels and refunds it.
    "bounced_back": State.PROCESSING,
    "cancelled": State.FAILED,
    "funds_refunded": State.FAILED,
    "charged_back": State.FAILED,
}
_REASONS = {
    "cancelled": "the transfer was cancelled, or the recipient's bank sent the money back",
    "funds_refunded": "the transfer was refunded",
    "charged_back": "the transfer was charged back",
}
# In these the money is ours again, as far as the statement has it; in all others it is under way or with its recipient.
TAKEN_BACK = frozenset(_REASONS)
_log = logger(__name__)


def outcome(state: str) -> State:
    """What a transfer's state means for its payout."""
    return _STATES.get(state, State.SENDING)


def reason(state: str) -> str:
    """Why a payout failed, by its transfer's state; empty where it did not."""
    return _REASONS.get(state, "")


def standing_of(transfer: Mapping[str, Any], moved: Callable[[], Moved], amount_micros: int | None = None) -> Standing:
    """How a transfer stands, by what Wise says of it and, of one that was taken back, by what `moved` in the statement.

    One that was taken back is so once the statement has the money, and for as much as it has.
    """
    status = str(transfer.get("status"))
    if status not in TAKEN_BACK:
        return Standing(outcome(status), reason(status))
    found = moved()
    if found.back_micros:
        sent_micros = micros(transfer.get("targetValue") or 0) if amount_micros is None else amount_micros
        return Standing(State.FAILED, reason(status), found.returned_of(sent_micros))
    if status == "cancelled" and not found.out_micros:
        return Standing(State.FAILED, reason(status))
    return Standing(State.PROCESSING, f"{reason(status)}; the money is not in the balance yet")


class Wise:
    """Wise's API, for one profile."""

    name = NAME

    def __init__(self, url: str, token: str, profile_id: int) -> None:
        self._profile_id = profile_id
        self._api = WiseApi(url, token, profile_id)
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=_TIMEOUT, follow_redirects=False
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()
        self._api.close()

    def recipient(self, payout: Payout) -> str:
        """Makes the payout's bank account known; its id."""
        account = payout.destination
        if account is None:
            raise Refused("the payout has no bank account")
        if account.iban:
            kind, details = "iban", {"legalType": "PRIVATE", "IBAN": account.iban}
        else:
            kind = "aba"
            details = {
                "legalType": "PRIVATE",
                "abartn": account.routing_number,
                "accountNumber": account.account_number,
                "accountType": "CHECKING",
            }
        answer = self._post(
            "/v1/accounts",
            {
                "profile": self._profile_id,
                "accountHolderName": account.holder,
                "currency": payout.currency_code,
                "type": kind,
                "details": details,
            },
        )
        return _id(answer)

    def quote(self, payout: Payout) -> str:
        """Asks for a transfer of exactly the payout's amount; the fee comes on top."""
        amount = to_decimal(payout.amount_micros)
        fields = {
            "sourceCurrency": payout.currency_code,
            "targetCurrency": payout.currency_code,
            "payOut": "BANK_TRANSFER",
        }
        # Written by hand, since a decimal must reach the wire as the number that it is.
        content = f'{json.dumps(fields)[:-1]}, "targetAmount": {amount:f}}}'
        answer = self._read("POST", f"/v3/profiles/{self._profile_id}/quotes", content)
        _expect(payout, answer, "targetAmount")
        return _id(answer)

    def transfer(self, payout: Payout) -> str:
        """Makes the transfer, once for the payout's id."""
        answer = self._post(
            "/v1/transfers",
            {
                "targetAccount": int(payout.recipient_id or 0),
                "quoteUuid": payout.quote_id,
                "customerTransactionId": str(payout.id),
                "details": {"reference": "payout"},
            },
        )
        # It may be one of an earlier try, whose answer was lost.
        _expect(payout, answer, "targetValue")
        return _id(answer)

    def fund(self, payout: Payout) -> None:
        """Pays from the balance; UNAVAILABLE while that is short."""
        try:
            answer = self._post(
                f"/v3/profiles/{self._profile_id}/transfers/{payout.transfer_id}/payments", {"type": "BALANCE"}
            )
        except Refused as refusal:
            # Perhaps an earlier try paid and its answer was lost; what the transfer's state says next decides.
            raise Unavailable(f"Wise did not take the money: {refusal}") from refusal
        if answer.get("status") != "COMPLETED":
            _log.error("wise_funding_rejected", payout=str(payout.id), error=answer.get("errorCode"))
            raise Unavailable(f"Wise did not take the money: {answer.get('errorCode')}")

    def standing(self, payout: Payout) -> Standing:
        """How the transfer stands."""
        try:
            found = self._read("GET", f"/v1/transfers/{payout.transfer_id}")
        except Refused as refusal:
            raise Unavailable(f"Wise does not say how the transfer stands: {refusal}") from refusal
        return standing_of(found, lambda: self._api.moved(found, datetime.now(UTC)), payout.amount_micros)

    def _post(self, path: str, fields: Mapping[str, object]) -> Mapping[str, Any]:
        return self._read("POST", path, json.dumps(fields))

    def _read(self, method: str, path: str, content: str | None = None) -> Mapping[str, Any]:
        try:
            answer = self._client.request(method, path, content=content, headers={"Content-Type": "application/json"})
            found = json.loads(answer.content, parse_float=Decimal) if answer.content else {}
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable(f"Wise does not answer: {type(error).__name__}") from error
        if answer.status_code in (400, 422):
            raise _refusal(found)
        if not answer.is_success or not isinstance(found, dict):
            # Among them a wrong token or profile of ours: no reason to give a publisher's payout up.
            _log.error("wise_failed", path=path, status=answer.status_code)
            raise Unavailable(f"Wise answers with status {answer.status_code}")
        return found


def _refusal(found: Any) -> Exception:
    errors = found.get("errors") if isinstance(found, dict) else None
    first = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    if first.get("path") == "quoteUuid":
        return QuoteUnusable(first.get("message"))
    return Refused(str(first.get("message") or "no reason given"))


def _id(answer: Mapping[str, Any]) -> str:
    if not answer.get("id"):
        raise Unavailable("Wise answered without an id")
    return str(answer["id"])


def _expect(payout: Payout, answer: Mapping[str, Any], field: str) -> None:
    said = (answer.get(field), answer.get("targetCurrency"))
    if said != (to_decimal(payout.amount_micros), payout.currency_code):
        _log.error("wise_amount_differs", payout=str(payout.id), amount=str(said[0]), currency=str(said[1]))
        raise Unavailable("Wise would transfer another amount than the payout's")
