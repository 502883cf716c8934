"""Payouts by Wise's bank transfers."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from uuid import UUID

from typing_extensions import override

from adlib.clock import Clock
from adlib.errors import Unavailable
from adlib.money import to_decimal
from adlib.telemetry import logger
from payment_service.providers.model import BankAccount, PayoutRejected, QuoteExpired, TransferStatus
from payment_service.providers.protocol import SendsPayouts
from payment_service.providers.wise.client import WiseClient, WiseRejected
from payment_service.providers.wise.messages import Json
from payment_service.providers.wise.model import NAME

_log = logger(__name__)


class WisePayouts(SendsPayouts):
    """Sends payouts from the profile's balances."""

    name = NAME

    def __init__(self, client: WiseClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    @override
    def create_recipient(self, account: BankAccount, currency_code: str) -> str:
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
        recipient = self._post(
            "/v1/accounts",
            {
                "profile": self._client.profile_id,
                "accountHolderName": account.holder,
                "currency": currency_code,
                "type": kind,
                "details": details,
            },
        )
        return _id(recipient)

    @override
    def create_quote(self, amount_micros: int, currency_code: str) -> str:
        fields = {"sourceCurrency": currency_code, "targetCurrency": currency_code, "payOut": "BANK_TRANSFER"}
        # json.dumps cannot write a Decimal as a number.
        body = f'{json.dumps(fields)[:-1]}, "targetAmount": {to_decimal(amount_micros):f}}}'
        with _rejections():
            quote = self._client.post(f"/v3/profiles/{self._client.profile_id}/quotes", body)
        _check_amount(quote, "targetAmount", amount_micros, currency_code)
        return _id(quote)

    @override
    def create_transfer(
        self, payout_id: UUID, recipient_id: str, quote_id: str, amount_micros: int, currency_code: str
    ) -> str:
        transfer = self._post(
            "/v1/transfers",
            {
                "targetAccount": int(recipient_id),
                "quoteUuid": quote_id,
                "customerTransactionId": str(payout_id),
                "details": {"reference": "payout"},
            },
        )
        # It may be the transfer of an earlier attempt whose response was lost.
        _check_amount(transfer, "targetValue", amount_micros, currency_code)
        return _id(transfer)

    @override
    def fund(self, transfer_id: str) -> None:
        path = f"/v3/profiles/{self._client.profile_id}/transfers/{transfer_id}/payments"
        try:
            payment = self._post(path, {"type": "BALANCE"})
        except PayoutRejected as rejection:
            # An earlier attempt may have paid and lost the response; the transfer's next state decides.
            raise Unavailable(f"Wise did not fund the transfer: {rejection}") from rejection
        if payment.get("status") != "COMPLETED":
            _log.error("wise_funding_rejected", transfer=transfer_id, error=payment.get("errorCode"))
            raise Unavailable(f"Wise did not fund the transfer: {payment.get('errorCode')}")

    @override
    def transfer_status(self, transfer_id: str, amount_micros: int) -> TransferStatus:
        transfer = self._client.transfer(transfer_id)
        if transfer is None:
            raise Unavailable(f"Wise has no transfer {transfer_id}")
        return self._client.transfer_status(transfer, self._clock.now(), amount_micros)

    def _post(self, path: str, fields: Mapping[str, object]) -> Json:
        with _rejections():
            return self._client.post(path, json.dumps(fields))


@contextmanager
def _rejections() -> Iterator[None]:
    try:
        yield
    except WiseRejected as rejection:
        if rejection.field == "quoteUuid":
            raise QuoteExpired(str(rejection)) from rejection
        raise PayoutRejected(str(rejection)) from rejection


def _id(created: Json) -> str:
    if not created.get("id"):
        raise Unavailable("Wise's response has no id")
    return str(created["id"])


def _check_amount(created: Json, field: str, amount_micros: int, currency_code: str) -> None:
    found = (created.get(field), created.get("targetCurrency"))
    if found != (to_decimal(amount_micros), currency_code):
        _log.error("wise_amount_differs", id=created.get("id"), amount=str(found[0]), currency=str(found[1]))
        raise Unavailable("Wise would transfer an amount other than the payout's")
