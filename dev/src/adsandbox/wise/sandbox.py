"""Wise: quotes, recipients, transfers and funding; a funded transfer advances by itself and sends signed webhooks."""

import base64
import hmac
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.control import BadJson, not_found, read_object
from adsandbox.database import Database
from adsandbox.sandbox import Sandbox, application
from adsandbox.settings import Settings, SettingsError
from adsandbox.webhooks import SCHEMA as WEBHOOKS_SCHEMA
from adsandbox.webhooks import Webhooks
from adsandbox.wise import wire
from adsandbox.wise.balances import SCHEMA as BALANCES_SCHEMA
from adsandbox.wise.balances import Balances
from adsandbox.wise.control import Control
from adsandbox.wise.incoming import Incoming
from adsandbox.wise.transfers import FEE_CENTS, FIRST_ID, WAITING, Transfers, rendered
from adsandbox.wise.transfers import SCHEMA as TRANSFERS_SCHEMA
from adsandbox.wise.wire import WiseError, iso_time

SCHEMA = """
CREATE TABLE IF NOT EXISTS quotes (id TEXT PRIMARY KEY, expires_at REAL NOT NULL, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, currency TEXT NOT NULL, body TEXT NOT NULL);
"""

QUOTE_LIFETIME_S = 1800

Json = dict[str, Any]


def build(settings: Settings) -> Sandbox:
    """Return the sandbox with its stored state; pending transfers continue."""
    key = load_pem_private_key(settings.contents("WISE_WEBHOOK_PRIVATE_KEY_FILE"), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise SettingsError("WISE_WEBHOOK_PRIVATE_KEY_FILE must hold an RSA private key")
    profile_id = settings.integer("WISE_PROFILE_ID", highest=2**53)
    database = Database(settings.state_dir / "wise.db", SCHEMA, BALANCES_SCHEMA, TRANSFERS_SCHEMA, WEBHOOKS_SCHEMA)
    behaviour = Behaviour()

    def sign(body: bytes, event_id: str, is_genuine: bool) -> dict[str, str]:
        signed = key.sign(body, padding.PKCS1v15(), hashes.SHA256()) if is_genuine else secrets.token_bytes(256)
        return {"X-Signature-SHA256": base64.b64encode(signed).decode(), "X-Delivery-Id": event_id}

    webhooks = Webhooks(database, behaviour, f"{settings.gateway_url}/webhooks/wise", sign)
    balances = Balances(profile_id, database, webhooks)
    transfers = Transfers(profile_id, database, webhooks, balances)
    incoming = Incoming(database, balances)
    control = Control(profile_id, database, transfers, balances)
    wise = Wise(settings.text("WISE_API_TOKEN"), profile_id, database, transfers, balances, incoming, control)
    app = application(
        [*wise.routes(), *webhooks.routes()],
        behaviour,
        lambda status: WiseError("The sandbox was asked to fail.", status=status, code="sandbox.failure").response(),
        {WiseError: _render, BadJson: _bad_json, HTTPException: _unknown_path},
    )
    return Sandbox("wise-sandbox", settings.port("wise"), app, database, [webhooks.run, transfers.run])


def _render(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, WiseError) else JSONResponse({}, 500)


def _bad_json(_: Request, error: Exception) -> Response:
    return WiseError(str(error), status=400, code="error.json").response()


def _unknown_path(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/sandbox/"):
        return not_found(request, error)
    return WiseError(
        f"{request.method} {request.url.path} does not exist", status=404, code="error.route.not.found"
    ).response()


class Wise:
    """One profile with a balance in every currency."""

    def __init__(
        self,
        token: str,
        profile_id: int,
        database: Database,
        transfers: Transfers,
        balances: Balances,
        incoming: Incoming,
        control: Control,
    ) -> None:
        self._token = token
        self._profile_id = profile_id
        self._database = database
        self._transfers = transfers
        self._balances = balances
        self._incoming = incoming
        self._control = control

    def routes(self) -> list[Route]:
        """Return the routes of Wise's API and of other banks."""

        def route(path: str, method: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
            async def endpoint(request: Request) -> Response:
                self._check_caller(request)
                return await answer(request)

            return Route(path, endpoint, methods=[method])

        return [
            route("/v3/profiles/{profile:int}/quotes", "POST", self._quote),
            route("/v3/profiles/{profile:int}/quotes/{id}", "GET", self._get_quote),
            route("/v1/accounts", "POST", self._create_account),
            route("/v1/accounts/{id:int}", "GET", self._get_account),
            route("/v1/transfers", "POST", self._create_transfer),
            route("/v1/transfers/{id:int}", "GET", self._get_transfer),
            route("/v1/transfers/{id:int}/cancel", "PUT", self._cancel),
            route("/v3/profiles/{profile:int}/transfers/{id:int}/payments", "POST", self._fund),
            route("/v4/profiles/{profile:int}/balances", "GET", self._balances.list),
            route(
                "/v1/profiles/{profile:int}/balance-statements/{balance:int}/statement.json",
                "GET",
                self._balances.statement,
            ),
            route("/v1/profiles/{profile:int}/account-details", "GET", self._incoming.account_details),
            *self._incoming.routes(),
            *self._control.routes(),
        ]

    def _check_caller(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise WiseError("Invalid token", status=401)
        self._check_profile(request.path_params.get("profile", self._profile_id))

    def _check_profile(self, profile: Any) -> None:
        if type(profile) is not int or profile != self._profile_id:
            raise WiseError(f"profile {profile} is not yours", status=403, code="profile.forbidden", path="profile")

    async def _quote(self, request: Request) -> Response:
        """Create a quote. As at Wise, the fee is added to a target amount and taken from a source amount."""
        body = await read_object(request)
        source, target = wire.currency(body, "sourceCurrency"), wire.currency(body, "targetCurrency")
        source_cents, target_cents = wire.cents(body, "sourceAmount"), wire.cents(body, "targetAmount")
        if (source_cents is None) == (target_cents is None):
            raise WiseError("Either sourceAmount or targetAmount must be given, not both", path="sourceAmount")
        if body.get("payOut", "BANK_TRANSFER") != "BANK_TRANSFER":
            raise WiseError("payOut must be BANK_TRANSFER", path="payOut")
        side = "TARGET" if source_cents is None else "SOURCE"
        if target_cents is not None:
            # Rounded up, so that at least the target amount arrives.
            source_cents = -wire.converted(-target_cents, target, source) + FEE_CENTS
        elif source_cents is not None:
            target_cents = wire.converted(source_cents - FEE_CENTS, source, target)
            if target_cents <= 0:
                raise WiseError("The amount does not cover the fee", code="error.amount.low", path="sourceAmount")
        now = time.time()
        quote = {
            "id": str(uuid4()),
            "sourceCurrency": source,
            "targetCurrency": target,
            "sourceAmount": wire.amount(source_cents or 0),
            "targetAmount": wire.amount(target_cents or 0),
            "providedAmountType": side,
            "payOut": "BANK_TRANSFER",
            "preferredPayIn": "BALANCE",
            "rate": wire.rate(source, target),
            "rateType": "FIXED",
            "fee": wire.amount(FEE_CENTS),
            "profile": self._profile_id,
            "status": "PENDING",
            "createdTime": iso_time(now),
            "expirationTime": iso_time(now + QUOTE_LIFETIME_S),
        }
        kept = json.dumps({**quote, "sourceCents": source_cents})
        self._database.execute("INSERT INTO quotes VALUES (?, ?, ?)", (quote["id"], now + QUOTE_LIFETIME_S, kept))
        return JSONResponse(quote)

    async def _get_quote(self, request: Request) -> Response:
        row = self._database.row("SELECT body FROM quotes WHERE id = ?", (request.path_params["id"],))
        if row is None:
            raise WiseError("The quote does not exist", status=404, code="error.quote.notFound")
        quote = json.loads(row["body"])
        del quote["sourceCents"]
        return JSONResponse(quote)

    async def _create_account(self, request: Request) -> Response:
        body = await read_object(request)
        self._check_profile(body.get("profile"))
        holder, code = body.get("accountHolderName"), wire.currency(body, "currency")
        if not isinstance(holder, str) or not 2 <= len(holder.strip()) <= 140:
            raise WiseError("Please enter the account holder's full name.", path="accountHolderName")
        account = {
            "profile": self._profile_id,
            "accountHolderName": holder,
            "currency": code,
            "type": body.get("type"),
            "details": wire.checked_details(body.get("type"), code, body.get("details")),
            "active": True,
            "ownedByCustomer": False,
        }
        account_id = self._database.execute(
            "INSERT INTO accounts (id, currency, body) VALUES (coalesce((SELECT max(id) + 1 FROM accounts), ?), ?, ?)",
            (FIRST_ID, code, json.dumps(account, default=str)),
        )
        return JSONResponse({"id": account_id, **account})

    async def _get_account(self, request: Request) -> Response:
        row = self._database.row("SELECT * FROM accounts WHERE id = ?", (request.path_params["id"],))
        if row is None:
            raise WiseError("The recipient does not exist", status=404, code="error.recipient.notFound")
        return JSONResponse({"id": row["id"], **json.loads(row["body"])})

    async def _create_transfer(self, request: Request) -> Response:
        """Create a transfer; a repeat of a customerTransactionId returns the first transfer."""
        body = await read_object(request)
        transaction_id = _uuid(body, "customerTransactionId")
        before = self._database.row("SELECT * FROM transfers WHERE transaction_id = ?", (transaction_id,))
        if before is not None:
            return JSONResponse(rendered(before))
        quote_id, account_id = _uuid(body, "quoteUuid"), body.get("targetAccount")
        quote = self._usable_quote(quote_id)
        account = (
            self._database.row("SELECT * FROM accounts WHERE id = ?", (account_id,)) if _is_id(account_id) else None
        )
        if account is None:
            raise WiseError("The recipient does not exist", path="targetAccount")
        if account["currency"] != quote["targetCurrency"]:
            raise WiseError(
                f"The recipient takes {account['currency']}, the quote is for {quote['targetCurrency']}",
                path="targetAccount",
            )
        details = body.get("details") or {}
        reference = details.get("reference", "") if isinstance(details, dict) else None
        if not isinstance(reference, str) or len(reference) > 100:
            raise WiseError("reference must have at most 100 characters", path="details.reference")
        transfer = {
            "targetAccount": account_id,
            "sourceAccount": None,
            "quoteUuid": quote_id,
            "reference": reference,
            "rate": quote["rate"],
            "created": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
            "business": self._profile_id,
            "details": {"reference": reference},
            "hasActiveIssues": False,
            "sourceCurrency": quote["sourceCurrency"],
            "sourceValue": quote["sourceAmount"],
            "targetCurrency": quote["targetCurrency"],
            "targetValue": quote["targetAmount"],
            "customerTransactionId": transaction_id,
        }
        transfer_id = self._transfers.open(transfer, quote["sourceCents"])
        return JSONResponse({"id": transfer_id, **transfer, "status": WAITING})

    def _usable_quote(self, quote_id: str) -> Json:
        row = self._database.row("SELECT * FROM quotes WHERE id = ?", (quote_id,))
        if row is None:
            raise WiseError("The quote does not exist", code="error.quote.notFound", path="quoteUuid")
        if row["expires_at"] < time.time():
            raise WiseError("The quote has expired", code="error.quote.expired", path="quoteUuid")
        if self._database.row("SELECT 1 FROM transfers WHERE quote_id = ?", (quote_id,)):
            raise WiseError("The quote belongs to another transfer", code="error.quote.used", path="quoteUuid")
        found: Json = json.loads(row["body"])
        return found

    def _row(self, transfer_id: int) -> Any:
        row = self._database.row("SELECT * FROM transfers WHERE id = ?", (transfer_id,))
        if row is None:
            raise WiseError(f"transfer {transfer_id} does not exist", status=404, code="transfer.not-found")
        return row

    async def _get_transfer(self, request: Request) -> Response:
        return JSONResponse(rendered(self._row(request.path_params["id"])))

    async def _cancel(self, request: Request) -> Response:
        row = self._row(request.path_params["id"])
        if row["status"] != WAITING or row["due_at"] is not None:
            raise WiseError(f"transfer {row['id']} cannot be cancelled any more", code="transfer.invalid-state")
        self._transfers.cancel(row)
        return JSONResponse(rendered(self._row(row["id"])))

    async def _fund(self, request: Request) -> Response:
        """Debit the amount and the fee from the balance; a second funding is refused, as at Wise."""
        if (await read_object(request)).get("type") != "BALANCE":
            raise WiseError("type must be BALANCE", path="type")
        row = self._row(request.path_params["id"])
        if row["status"] != WAITING or row["due_at"] is not None:
            raise WiseError(
                f"transfer {row['id']} is funded already or cancelled ({row['status']})", code="transfer.invalid-state"
            )
        refusal = None if self._transfers.fund(row) else "transfer.insufficient_funds"
        status = "COMPLETED" if refusal is None else "REJECTED"
        return JSONResponse({"type": "BALANCE", "status": status, "errorCode": refusal}, 201)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**53


def _uuid(body: Json, name: str) -> str:
    value = body.get(name)
    try:
        return str(UUID(value if isinstance(value, str) else ""))
    except ValueError:
        raise WiseError(f"{name} must be a UUID", path=name) from None
