"""The control endpoints of Wise: transfers that staff send by hand, returns by other banks, and balances."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.control import ControlError, read_object
from adsandbox.database import Database
from adsandbox.wise import wire
from adsandbox.wise.balances import Balances
from adsandbox.wise.transfers import FEE_CENTS, FIRST_ID, Transfers, rendered


class Control:
    """The control endpoints of outgoing transfers and of the balance."""

    def __init__(self, profile_id: int, database: Database, transfers: Transfers, balances: Balances) -> None:
        self._profile_id = profile_id
        self._database = database
        self._transfers = transfers
        self._balances = balances

    def routes(self) -> list[Route]:
        """Return the routes of /sandbox/transfers… and /sandbox/balance."""
        return [
            Route("/sandbox/transfers", self._send, methods=["POST"]),
            Route("/sandbox/transfers/{id}/bounce", self._bounce, methods=["POST"]),
            Route("/sandbox/transfers/{id}/charge-back", self._charge_back, methods=["POST"]),
            Route("/sandbox/transfers/{id}/return", self._return, methods=["POST"]),
            Route("/sandbox/transfers/{id}", self._find, methods=["GET"]),
            Route("/sandbox/balance", self._set_balance, methods=["PUT"]),
        ]

    def _row(self, transfer_id: int) -> Any:
        return self._database.row("SELECT * FROM transfers WHERE id = ?", (transfer_id,))

    def _found(self, request: Request) -> Any:
        """Find a transfer by Wise's id, by our customerTransactionId or by our reference."""
        wanted = request.path_params["id"]
        row = self._database.row(
            """
            SELECT * FROM transfers WHERE CAST(id AS TEXT) = :wanted OR transaction_id = lower(:wanted)
              OR json_extract(body, '$.reference') = :wanted ORDER BY id DESC
            """,
            {"wanted": wanted},
        )
        if row is None:
            raise ControlError(404, f"Wise has no transfer with the id, customerTransactionId or reference {wanted}")
        return row

    async def _find(self, request: Request) -> Response:
        return JSONResponse(rendered(self._found(request)))

    async def _send(self, request: Request) -> Response:
        """{currency, amount, reference}: send money from the balance, as staff do by hand at wise.com."""
        body = await read_object(request)
        code, cents, reference = (
            wire.currency(body, "currency"),
            wire.decimal_cents(body, "amount"),
            body.get("reference"),
        )
        made = {
            "targetAccount": FIRST_ID,
            "quoteUuid": str(uuid4()),
            "reference": reference,
            "rate": 1.0,
            "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            "business": self._profile_id,
            "details": {"reference": reference},
            "hasActiveIssues": False,
            "sourceCurrency": code,
            "sourceValue": wire.amount(cents + FEE_CENTS),
            "targetCurrency": code,
            "targetValue": wire.amount(cents),
            "customerTransactionId": str(uuid4()),
        }
        row = self._row(self._transfers.open(made, cents + FEE_CENTS))
        if not self._transfers.fund(row):
            raise ControlError(409, f"the balance in {code} is short of it")
        return JSONResponse(rendered(row))

    async def _bounce(self, request: Request) -> Response:
        """Return the money as the recipient's bank: now, or as soon as it is sent.

        {returned}: the amount that is returned, by default the whole amount and the fee.
        """
        row = self._found(request)
        body = await read_object(request) if await request.body() else {}
        returned_cents = wire.decimal_cents(body, "returned") if "returned" in body else None
        if not self._transfers.bounce(row, returned_cents):
            raise ControlError(409, f"transfer {row['id']} is {row['status']}; it is not funded, or bounces already")
        return JSONResponse(rendered(row))

    async def _charge_back(self, request: Request) -> Response:
        """Charge a sent transfer back at once."""
        row = self._found(request)
        if not self._transfers.charge_back(row):
            raise ControlError(409, f"transfer {row['id']} is {row['status']}; it was not sent, or bounces already")
        return JSONResponse(rendered(self._row(row["id"])))

    async def _return(self, request: Request) -> Response:
        """{amount}: return a further part of a transfer that bounced in part."""
        row = self._found(request)
        if not self._transfers.return_part(row, wire.decimal_cents(await read_object(request), "amount")):
            raise ControlError(
                409, f"transfer {row['id']} is {row['status']}; only of one that bounced more comes back"
            )
        return JSONResponse(rendered(row))

    async def _set_balance(self, request: Request) -> Response:
        """{currency, amount}: set the balance, so that a funding can exceed it."""
        body = await read_object(request)
        code = wire.currency(body, "currency")
        held_cents = 0 if body.get("amount") == 0 else wire.cents(body, "amount")
        if held_cents is None:
            raise ControlError(400, "amount is missing")
        self._balances.set(code, held_cents)
        return JSONResponse({"currency": code, "amount": wire.amount(held_cents)})
