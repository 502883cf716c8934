"""TrafficEngine, an ad network of the PropellerAds v5 shape: campaigns, play and stop, statistics."""

import hmac
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime
from decimal import Decimal, DecimalException
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.control import BadJson, ControlError, non_negative, not_found, read_object
from adsandbox.database import Database
from adsandbox.networks import BILLING_CURRENCIES
from adsandbox.sandbox import Sandbox, application
from adsandbox.settings import Settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS campaigns (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL,
  status INTEGER NOT NULL,
  price_micros INTEGER NOT NULL,
  body TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS campaigns_by_name ON campaigns (name);
CREATE TABLE IF NOT EXISTS statistics (
  campaign_id INTEGER NOT NULL,
  day TEXT NOT NULL,
  zone_id TEXT NOT NULL,
  impressions INTEGER NOT NULL,
  clicks INTEGER NOT NULL,
  conversions INTEGER NOT NULL,
  PRIMARY KEY (campaign_id, day, zone_id)
);
CREATE TABLE IF NOT EXISTS bookings (request_id TEXT PRIMARY KEY);
"""

CURRENCY = BILLING_CURRENCIES["TRAFFIC_ENGINE"]
WORKING, STOPPED = 6, 8
# The billed event of each pricing model and how many of them the price buys.
BILLED = {"cpm": ("impressions", 1000), "cpc": ("clicks", 1), "cpa": ("conversions", 1)}
GROUPS = ("campaign_id", "day", "zone_id")
MAX_ROWS = 1000
MICROS = 1_000_000
MAX_MICROS = 10**15
MAX_NAME_LENGTH = 512

Json = dict[str, Any]


class EngineError(Exception):
    """An error in the network's format."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code

    def response(self) -> Response:
        """Return the error as the network's answer."""
        return JSONResponse({"errors": [{"message": str(self), "code": self.code}]}, self.status)


def build(settings: Settings) -> Sandbox:
    """Return the sandbox with its stored state."""
    database = Database(settings.state_dir / "traffic-engine.db", SCHEMA)
    behaviour = Behaviour()
    app = application(
        TrafficEngine(settings.text("TRAFFIC_ENGINE_TOKEN"), database).routes(),
        behaviour,
        lambda status: EngineError(status, "sandbox_failure", "The sandbox was asked to fail.").response(),
        {EngineError: _render, BadJson: _bad_json, HTTPException: _unknown_path},
    )
    return Sandbox("traffic-engine-sandbox", settings.port("traffic_engine"), app, database)


def _render(_: Request, error: Exception) -> Response:
    return error.response() if isinstance(error, EngineError) else JSONResponse({}, 500)


def _bad_json(_: Request, error: Exception) -> Response:
    return EngineError(400, "bad_request", str(error)).response()


def _unknown_path(request: Request, error: Exception) -> Response:
    if request.url.path.startswith("/sandbox/"):
        return not_found(request, error)
    return EngineError(404, "not_found", f"{request.method} {request.url.path} does not exist").response()


class TrafficEngine:
    """Campaigns are approved at once and stopped until they are played; only working ones accept traffic."""

    def __init__(self, token: str, database: Database) -> None:
        self._token = token
        self._database = database

    def routes(self) -> list[Route]:
        """Return the routes of the network's API and of its traffic."""

        def route(path: str, method: str, answer: Callable[[Request], Awaitable[Response]]) -> Route:
            async def endpoint(request: Request) -> Response:
                self._check_token(request.headers.get("authorization", ""))
                return await answer(request)

            return Route(path, endpoint, methods=[method])

        return [
            route("/v5/adv/campaigns", "POST", self._create),
            route("/v5/adv/campaigns", "GET", self._list),
            route("/v5/adv/campaigns/play", "PUT", self._play),
            route("/v5/adv/campaigns/stop", "PUT", self._stop),
            route("/v5/adv/campaigns/{id:int}", "GET", self._get),
            route("/v5/adv/campaigns/{id:int}", "PATCH", self._change),
            route("/v5/adv/statistics", "POST", self._statistics),
            Route("/sandbox/traffic", self._traffic, methods=["POST"]),
            Route("/sandbox/campaigns/{id:int}", self._get, methods=["GET"]),
        ]

    def _check_token(self, header: str) -> None:
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(token.encode(), self._token.encode()):
            raise EngineError(401, "unauthorized", "The token is missing or wrong")

    async def _create(self, request: Request) -> Response:
        body, price_micros = _checked(await read_object(request))
        campaign_id = self._database.execute(
            "INSERT INTO campaigns (name, status, price_micros, body) VALUES (?, ?, ?, ?)",
            (body["name"], STOPPED, price_micros, json.dumps(body, default=float)),
        )
        return JSONResponse({"result": {"id": campaign_id}}, 201)

    async def _list(self, request: Request) -> Response:
        query = request.query_params
        size, page = _page(query.get("page_size", MAX_ROWS), query.get("page", 1))
        statuses = query.getlist("status[]")
        matching = {"name": query.get("name"), "statuses": json.dumps(statuses) if statuses else None}
        found = self._database.rows(
            """
            SELECT *, count(*) OVER () AS total FROM campaigns
            WHERE (:name IS NULL OR name = :name)
              AND (:statuses IS NULL OR CAST(status AS TEXT) IN (SELECT value FROM json_each(:statuses)))
            ORDER BY id LIMIT :size OFFSET :skipped
            """,
            {**matching, "size": size, "skipped": (page - 1) * size},
        )
        total = found[0]["total"] if found else 0
        return JSONResponse({"result": [_campaign(row) for row in found], "meta": {"total_items": total, "page": page}})

    async def _get(self, request: Request) -> Response:
        row = self._database.row("SELECT * FROM campaigns WHERE id = ?", (request.path_params["id"],))
        if row is None:
            raise EngineError(404, "not_found", f"campaign {request.path_params['id']} does not exist")
        return JSONResponse({"result": _campaign(row)})

    async def _change(self, request: Request) -> Response:
        """Change the given fields; the result must be valid as a new campaign."""
        found = self._database.row("SELECT body FROM campaigns WHERE id = ?", (request.path_params["id"],))
        if found is None:
            raise EngineError(404, "not_found", f"campaign {request.path_params['id']} does not exist")
        body, price_micros = _checked(json.loads(found["body"], parse_float=Decimal) | await read_object(request))
        self._database.execute(
            "UPDATE campaigns SET name = ?, price_micros = ?, body = ? WHERE id = ?",
            (body["name"], price_micros, json.dumps(body, default=float), request.path_params["id"]),
        )
        return await self._get(request)

    async def _play(self, request: Request) -> Response:
        return self._set_status(await read_object(request), WORKING)

    async def _stop(self, request: Request) -> Response:
        return self._set_status(await read_object(request), STOPPED)

    def _set_status(self, body: Json, status: int) -> Response:
        """Play or stop campaigns, idempotently; unknown ids are in `failed`."""
        ids = body.get("campaign_ids")
        if not isinstance(ids, list) or not ids or not all(type(one) is int for one in ids):
            raise EngineError(400, "validation_error", "campaign_ids must be a list of campaign ids")
        success: list[int] = []
        failed: list[int] = []
        with self._database.transaction():
            for one in ids:
                known = self._database.row("UPDATE campaigns SET status = ? WHERE id = ? RETURNING id", (status, one))
                (failed if known is None else success).append(one)
        return JSONResponse({"result": {"success": success, "failed": failed}})

    async def _statistics(self, request: Request) -> Response:
        """Return cumulative figures for each day (UTC); a day or zone without traffic has no row."""
        body = await read_object(request)
        first, last = _day(body, "day_from"), _day(body, "day_to")
        if last < first:
            raise EngineError(400, "validation_error", "day_to is before day_from")
        groups = body.get("group_by") or ["campaign_id"]
        if not isinstance(groups, list) or not all(group in GROUPS for group in groups):
            raise EngineError(400, "validation_error", f"group_by takes {', '.join(GROUPS)}")
        ids = body.get("campaign_id")
        ids = [ids] if type(ids) is int else ids
        if ids is not None and not (isinstance(ids, list) and all(type(one) is int for one in ids)):
            raise EngineError(400, "validation_error", "campaign_id must be a list of campaign ids")
        size, page = _page(body.get("page_size", MAX_ROWS), body.get("page", 1))
        rows = self._database.rows(
            """
            SELECT s.*, c.price_micros, c.body FROM statistics s JOIN campaigns c ON c.id = s.campaign_id
            WHERE s.day BETWEEN :first AND :last
              AND (:ids IS NULL OR s.campaign_id IN (SELECT value FROM json_each(:ids)))
            ORDER BY s.campaign_id, s.day, s.zone_id
            """,
            {"first": first, "last": last, "ids": None if ids is None else json.dumps(ids)},
        )
        found = _grouped(rows, [group for group in GROUPS if group in groups])
        shown = found[(page - 1) * size : page * size]
        return JSONResponse({"result": shown, "meta": {"total_items": len(found), "page": page}})

    async def _traffic(self, request: Request) -> Response:
        """Serve traffic: {campaign_id, zone_id?, impressions, clicks, conversions, day?, request_id?}.

        A request_id that was booked before books nothing.
        """
        body = await read_object(request)
        figures = {name: non_negative(body, name) for name in ("impressions", "clicks", "conversions")}
        zone_id, request_id = body.get("zone_id") or "", body.get("request_id")
        if not isinstance(zone_id, str) or not isinstance(request_id, str | None):
            raise ControlError(400, "zone_id and request_id must be strings")
        day = _day(body, "day") if "day" in body else datetime.now(UTC).date().isoformat()
        campaign_id = non_negative(body, "campaign_id")
        row = self._database.row("SELECT status FROM campaigns WHERE id = ?", (campaign_id,))
        if row is None:
            raise ControlError(404, f"TrafficEngine has no campaign {campaign_id}")
        if row["status"] != WORKING:
            raise ControlError(409, f"campaign {campaign_id} is not playing at TrafficEngine; start it first")
        with self._database.transaction():
            if request_id:
                if self._database.row("SELECT 1 FROM bookings WHERE request_id = ?", (request_id,)):
                    return JSONResponse({"result": {"booked": False}})
                self._database.execute("INSERT INTO bookings VALUES (?)", (request_id,))
            self._database.execute(
                """
                INSERT INTO statistics VALUES (:campaign_id, :day, :zone_id, :impressions, :clicks, :conversions)
                ON CONFLICT DO UPDATE SET impressions = impressions + excluded.impressions,
                  clicks = clicks + excluded.clicks, conversions = conversions + excluded.conversions
                """,
                {"campaign_id": campaign_id, "day": day, "zone_id": zone_id, **figures},
            )
        return JSONResponse({"result": {"booked": True}})


def _checked(body: Json) -> tuple[Json, int]:
    """Return the validated campaign and the price of its traffic."""

    def refuse(message: str) -> EngineError:
        return EngineError(400, "validation_error", message)

    name, target_url = body.get("name"), body.get("target_url")
    if not isinstance(name, str) or not 0 < len(name.strip()) <= MAX_NAME_LENGTH:
        raise refuse(f"name must have 1 to {MAX_NAME_LENGTH} characters")
    if body.get("direction") != "onclick":
        raise refuse("direction must be onclick")
    if body.get("rate_model") not in BILLED:
        raise refuse(f"rate_model must be one of {', '.join(BILLED)}")
    if not isinstance(target_url, str) or not _is_web_address(target_url):
        raise refuse("target_url must be an http or https URL")
    if body.get("currency", CURRENCY) != CURRENCY:
        raise refuse(f"currency must be {CURRENCY}")
    for amount in ("total_amount", "daily_amount"):
        if (amount == "total_amount" or body.get(amount) is not None) and _micros(body.get(amount)) is None:
            raise refuse(f"{amount} must be a positive number of {CURRENCY}")
    for moment in ("started_at", "expired_at"):
        if body.get(moment) is not None and not _is_date(body[moment]):
            raise refuse(f"{moment} must be an ISO date")
    rates = body.get("rates")
    if not isinstance(rates, list) or not rates or not all(isinstance(rate, dict) for rate in rates):
        raise refuse("rates must be a list of {countries, amount}")
    prices = [_micros(rate.get("amount")) for rate in rates]
    if None in prices:
        raise refuse(f"each rate needs an amount that is a positive number of {CURRENCY}, with at most 6 decimals")
    everywhere = next((price for price, rate in zip(prices, rates, strict=True) if not rate.get("countries")), None)
    return {"currency": CURRENCY, **body}, everywhere or prices[0] or 0


def _micros(value: Any) -> int | None:
    """Return a positive USD amount in micros; None for anything else, such as a fraction of a micro."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        micros = Decimal(value) * MICROS
    except DecimalException:
        return None
    return int(micros) if micros.is_finite() and 0 < micros <= MAX_MICROS and micros == int(micros) else None


def _is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _is_date(value: Any) -> bool:
    try:
        datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return True


def _day(body: Json, name: str) -> str:
    try:
        return date.fromisoformat(body.get(name) or "").isoformat()
    except (TypeError, ValueError):
        raise EngineError(400, "validation_error", f"{name} must be a date like 2030-12-31") from None


def _page(size: Any, page: Any) -> tuple[int, int]:
    if not (str(size).isdecimal() and 1 <= int(size) <= MAX_ROWS and str(page).isdecimal() and int(page) >= 1):
        raise EngineError(400, "validation_error", f"page_size must be from 1 to {MAX_ROWS} and page 1 or more")
    return int(size), int(page)


def _campaign(row: Any) -> Json:
    return {**json.loads(row["body"]), "id": row["id"], "status": row["status"]}


def _grouped(rows: list[Any], groups: list[str]) -> list[Json]:
    """Sum the rows of each group; money is summed in micros and returned in USD."""
    found: dict[tuple[Any, ...], Json] = {}
    for row in rows:
        key = tuple(row[group] for group in groups)
        sums = found.setdefault(
            key, {**dict(zip(groups, key, strict=True)), "impressions": 0, "clicks": 0, "conversions": 0, "money": 0}
        )
        figure, bought = BILLED[json.loads(row["body"])["rate_model"]]
        for name in ("impressions", "clicks", "conversions"):
            sums[name] += row[name]
        sums["money"] += row[figure] * row["price_micros"] // bought
    for sums in found.values():
        sums["money"] = f"{sums['money'] // MICROS}.{sums['money'] % MICROS:06d}"
    return list(found.values())
