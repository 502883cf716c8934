"""Bank transfers to the profile: the account details, deposits and recalls."""

import json
import time
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.control import ControlError, read_object
from adsandbox.database import Database
from adsandbox.wise import wire
from adsandbox.wise.balances import IDS, Balances

FIRST_ID = 34_188_888
_MAX_TEXT_LENGTH = 500
# Currencies whose account is open; all others show an example.
_LOCAL = {
    "USD": {"ROUTING_NUMBER": "026008086", "ACCOUNT_NUMBER": "8310456789", "ADDRESS": "Sandbox Savings Bank\nNew York"},
    "EUR": {"SWIFT_CODE": "TRWIBEB1XXX", "IBAN": "BE25967000000042", "ADDRESS": "Wise\nBrussels"},
    "GBP": {
        "BANK_CODE": "231470",
        "ACCOUNT_NUMBER": "12345678",
        "IBAN": "GB11TRWI23147012345678",
        "ADDRESS": "Wise\nLondon",
    },
}
_TITLES = {"ROUTING_NUMBER": "Routing number", "SWIFT_CODE": "BIC", "IBAN": "IBAN", "BANK_CODE": "Sort code"}

Json = dict[str, Any]


class Incoming:
    """Deposits and recalls by other banks."""

    def __init__(self, database: Database, balances: Balances) -> None:
        self._database = database
        self._balances = balances

    def routes(self) -> list[Route]:
        """Return the control endpoints of deposits and recalls."""
        return [
            Route("/sandbox/incoming", self._receive, methods=["POST"]),
            Route("/sandbox/incoming/{reference}/recall", self._recall, methods=["POST"]),
        ]

    async def account_details(self, _: Request) -> Response:
        """Return the account details: GET /v1/profiles/{profile}/account-details."""
        return JSONResponse([_account(code, number) for code, number in IDS.items()])

    async def _receive(self, request: Request) -> Response:
        """{currency, amount, reference, sender_name, type}: credit a deposit; `type` is DEPOSIT by default.

        The amount is a number, or a text such as "12.34".
        """
        body = await read_object(request)
        code, cents = wire.currency(body, "currency"), wire.decimal_cents(body, "amount")
        sender, text = _text(body, "sender_name", "Ada Zone"), _text(body, "reference", "")
        details = {
            "type": _text(body, "type", "DEPOSIT"),
            "description": f"Received money from {sender} with reference {text}",
            "senderName": sender,
            "senderAccount": "DE89 3704 0044 0532 0130 00",
            "paymentReference": text,
        }
        with self._database.transaction():
            last = self._database.row("SELECT count(*) AS many FROM movements")
            number = FIRST_ID + (last["many"] if last else 0)
            # The webhook uses another name than the statement, as in Wise's own examples.
            self._balances.move(code, cents, f"TRANSFER-{number}", f"BNK-{int(time.time() * 1000)}", details)
        return JSONResponse({"referenceNumber": f"TRANSFER-{number}"})

    async def _recall(self, request: Request) -> Response:
        """Recall a deposit as the sender's bank: a debit with the credit's reference number.

        {amount}: the part to recall, by default the rest; a deposit can be recalled in any number of parts.
        """
        body = await read_object(request) if await request.body() else {}
        reference = request.path_params["reference"]
        rows = self._database.rows("SELECT * FROM movements WHERE reference = ? ORDER BY id", (reference,))
        if not rows or json.loads(rows[0]["details"])["type"] != "DEPOSIT":
            raise ControlError(404, f"nothing was received as {reference}")
        left_cents = sum(row["cents"] for row in rows)
        back_cents = wire.decimal_cents(body, "amount") if "amount" in body else left_cents
        if not 0 < back_cents <= left_cents:
            raise ControlError(409, f"{reference} was taken back already, or less than that is left of it")
        received = json.loads(rows[0]["details"])
        details = {**received, "description": f"Returned to {received['senderName']}"}
        with self._database.transaction():
            number = reference.removeprefix("TRANSFER-")
            self._balances.move(rows[0]["currency"], -back_cents, reference, number, details)
        return JSONResponse({"referenceNumber": reference})


def _account(code: str, number: int) -> Json:
    known = _LOCAL.get(code)
    fields = {"ACCOUNT_HOLDER": wire.HOLDER, **(known or {"IBAN": "XX00 0000 0000", "ADDRESS": "Example\nNowhere"})}
    details = [
        {
            "type": kind,
            "title": _TITLES.get(kind, kind.replace("_", " ").capitalize()),
            "body": body,
            "description": None,
            "hidden": False,
        }
        for kind, body in fields.items()
    ]
    return {
        "id": 14_000_000 + number if known else None,
        "currency": {"code": code, "name": code},
        "title": f"Your {code} account details",
        "subtitle": ", ".join(fields),
        "status": "ACTIVE" if known else "AVAILABLE",
        "deprecated": False,
        "receiveOptions": [{"type": "LOCAL", "title": "Local", "description": None, "details": details}],
        "bankFeatures": [{"key": "LOCAL_RECEIVE", "title": "Receive locally", "supported": True}],
    }


def _text(body: Json, name: str, default: str) -> str:
    value = body.get(name, default)
    if not isinstance(value, str) or len(value) > _MAX_TEXT_LENGTH:
        raise ControlError(400, f"{name} must be a text of at most {_MAX_TEXT_LENGTH} characters")
    return value
