"""`adctl sandbox`: what customers, banks, visitors and bad days do to the platform here."""

import asyncio
import base64
import hashlib
import hmac
import json
import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import httpx
import psycopg
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from adctl import sandbox_chain, sandbox_wise
from adctl.children import ChildError
from adctl.state import State, find_home, load
from adsandbox.mail import MOST_LISTED as MOST_MAILS
from adsandbox.traffic_engine import WORKING
from adsandbox.visitors import Tracked, TrafficReport, visit

MOST_EVENTS = 1_000_000
TIMEOUT_S = 10.0
TRIES = 3
_MAIL_HEADS = ("received_at", "from", "to", "subject")

app = typer.Typer(help="Outside systems: pay, bounce, send traffic, read mail, misbehave.", no_args_is_help=True)
stripe_app = typer.Typer(help="Stripe's customer, their bank, and Stripe's dashboard.", no_args_is_help=True)
app.add_typer(stripe_app, name="stripe")
app.add_typer(sandbox_wise.commands(lambda *call: _ask(_state(), Name.WISE, *call)), name="wise")
app.add_typer(
    sandbox_chain.commands(lambda *call: _ask(_state(), Name.CHAIN, *call), lambda payment: _asked(payment)),
    name="chain",
)
console = Console()


class SandboxError(ChildError):
    """Something cannot be done in a sandbox; the text is for people."""


class Outcome(StrEnum):
    """How a card payment ends."""

    SUCCEED = "succeed"
    DECLINE = "decline"


class Card(StrEnum):
    """Stripe's test cards; a refund of the last one stays pending until it is told how it ends."""

    VISA = "pm_card_visa"
    PENDING_REFUND = "pm_card_pendingRefund"


class RefundOutcome(StrEnum):
    """What the customer's bank does with a refund, also with one that it took before."""

    SUCCEED = "succeed"
    FAIL = "fail"


class Step(StrEnum):
    """What the customer's bank does about a payment; `inquire` only asks."""

    OPEN = "open"
    INQUIRE = "inquire"
    REVIEW = "review"
    WIN = "win"
    LOSE = "lose"


class Name(StrEnum):
    """The sandboxes."""

    CHAIN = "chain"
    MAIL = "mail"
    STRIPE = "stripe"
    TRAFFIC_ENGINE = "traffic-engine"
    WISE = "wise"


Count = Annotated[int, typer.Option(min=0, max=MOST_EVENTS)]
Minor = Annotated[int | None, typer.Option(min=1, help="In cents; all that is left unless given.")]


@stripe_app.command()
def pay(
    payment_id: Annotated[UUID, typer.Argument(help="The id that POST /payments/create answered.")],
    outcome: Annotated[Outcome, typer.Option(help="Whether the card is good.")] = Outcome.SUCCEED,
    card: Annotated[Card, typer.Option(help="How refunds to it behave.")] = Card.VISA,
) -> None:
    """Let the customer pay; the webhook follows by itself."""
    intent = pay_intent(_state(), payment_id, outcome, card)
    paid = intent["status"] == "succeeded"
    console.print(f"{intent['id']} is {'paid' if paid else 'declined'}; the webhook is on its way", highlight=False)


@stripe_app.command()
def refund(payment_id: Annotated[UUID, typer.Argument(help="A payment that was paid.")], amount: Minor = None) -> None:
    """Give a payment back at Stripe's dashboard, past the platform; the webhooks follow by themselves."""
    body = {"payment_id": str(payment_id), "amount": amount}
    made = _ask(_state(), Name.STRIPE, "POST", "/sandbox/refund", body)
    console.print(f"{made['id']} is {made['status']}; the webhooks are on their way", highlight=False)


@stripe_app.command("end-refund")
def end_refund(
    refund_id: Annotated[str, typer.Argument(help="Stripe's id of it, re_…")],
    outcome: Annotated[RefundOutcome, typer.Option(help="How it ends.")] = RefundOutcome.SUCCEED,
) -> None:
    """Let the customer's bank take a pending refund, or send one back."""
    ended = _ask(_state(), Name.STRIPE, "POST", f"/sandbox/refunds/{refund_id}/{outcome.value}")
    console.print(f"{ended['id']} has {ended['status']}; the webhook is on its way", highlight=False)


@stripe_app.command()
def dispute(
    payment_id: Annotated[UUID, typer.Argument(help="A payment that was paid.")],
    outcome: Annotated[Step, typer.Option(help="How it goes on.")] = Step.OPEN,
    amount: Minor = None,
) -> None:
    """Let the customer's bank ask for a payment back, win or lose; the webhooks follow by themselves."""
    body = {"payment_id": str(payment_id), "outcome": outcome.value, "amount": amount}
    made = _ask(_state(), Name.STRIPE, "POST", "/sandbox/dispute", body)
    console.print(f"{made['id']} is {made['status']}; the webhooks are on their way", highlight=False)


@app.command()
def traffic(
    campaign_id: Annotated[UUID, typer.Argument(help="A campaign that has been started and has a pixel.")],
    impressions: Count = 0,
    clicks: Count = 0,
    conversions: Count = 0,
    zone: Annotated[UUID | None, typer.Option(help="The publisher's zone that shows the ad.")] = None,
    repeat_conversion: Annotated[bool, typer.Option(help="Send one conversion twice, as partners do.")] = True,
) -> None:
    """Send traffic through the public tracking URLs, and book it at TrafficEngine."""
    report = send_traffic(
        _state(),
        campaign_id,
        impressions=impressions,
        clicks=clicks,
        conversions=conversions,
        zone_id=zone,
        repeat_conversions=1 if repeat_conversion and conversions else 0,
    )
    console.print(traffic_table(report))
    if report.booking_error:
        raise SandboxError(f"the traffic was sent, but not booked at TrafficEngine: {report.booking_error}")
    if not report.ok:
        raise SandboxError("not everything was answered as it should be; see the table")


@app.command()
def mail(
    mail_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="One mail, whole.")] = None,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only those to this address.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MOST_MAILS, help="How many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List the mails that the platform sent, newest first, or show one."""
    state = _state()
    if mail_id is not None:
        found = _ask(state, Name.MAIL, "GET", f"/sandbox/mails/{mail_id}")
        shown = [f"{name}: {', '.join(found[name]) if name == 'to' else found[name]}" for name in _MAIL_HEADS]
        print(json.dumps(found) if as_json else "\n".join([*shown, "", found["text"]]))
        return
    newest = mails(state, to=to, limit=limit)
    if as_json:
        print(json.dumps(newest))
    else:
        print("\n".join(mail_lines(newest)) if newest else "no mail yet")


@app.command()
def behaviour(
    name: Annotated[Name, typer.Argument(help="Which sandbox.")],
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as fail_next=2.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Behave well again.")] = False,
) -> None:
    """Make an outside system misbehave, or show how it behaves."""
    state = _state()
    if reset:
        _ask(state, name, "DELETE", "/sandbox/behaviour")
    if wanted:
        shown = _ask(state, name, "PUT", "/sandbox/behaviour", dict(_setting(one) for one in wanted))
    else:
        shown = _ask(state, name, "GET", "/sandbox/behaviour")
    for key, value in shown.items():
        console.print(f"{key}={json.dumps(value)}", highlight=False)


def pay_intent(
    state: State, payment_id: UUID | str, outcome: Outcome = Outcome.SUCCEED, card: Card = Card.VISA
) -> dict[str, Any]:
    """Lets the customer pay; the payment intent as Stripe has it then. SandboxError: no such payment."""
    body = {"payment_id": str(payment_id), "outcome": outcome.value, "card": card.value}
    return _ask(state, Name.STRIPE, "POST", "/sandbox/pay", body)


def mails(state: State, *, to: str | None = None, limit: int = 20) -> list[dict[str, Any]]:
    """The newest mails that the platform sent, newest first; `links` are what their texts point to."""
    query = urlencode({"limit": limit} | ({"to": to} if to else {}))
    found: list[dict[str, Any]] = _ask(state, Name.MAIL, "GET", f"/sandbox/mails?{query}")["mails"]
    return found


def set_behaviour(state: State, name: Name, **settings: Any) -> dict[str, Any]:
    """Makes a sandbox misbehave, or without settings behave again; how it behaves now."""
    if settings:
        return _ask(state, name, "PUT", "/sandbox/behaviour", settings)
    return _ask(state, name, "DELETE", "/sandbox/behaviour")


def send_traffic(
    state: State,
    campaign_id: UUID | str,
    *,
    impressions: int,
    clicks: int,
    conversions: int,
    zone_id: UUID | str | None = None,
    repeat_conversions: int = 0,
) -> TrafficReport:
    """Sends traffic as browsers and a partner's server would, and books what was accepted at TrafficEngine.

    `repeat_conversions` of the conversions are sent a second time with the same transaction id.
    SandboxError: the campaign is unknown or not playing, has no pixel, or the figures make no sense.
    """
    if conversions and not clicks:
        raise SandboxError("a conversion belongs to a click; ask for --clicks 1 or more")
    network_id, pixel_id = _find_campaign(state, UUID(str(campaign_id)))
    found = _ask(state, Name.TRAFFIC_ENGINE, "GET", f"/sandbox/campaigns/{network_id}")
    if found["result"]["status"] != WORKING:
        raise SandboxError(
            f"campaign {campaign_id} is not playing at TrafficEngine; POST /campaigns/{campaign_id}/start starts it"
        )
    zone = str(zone_id) if zone_id else None
    tracked = Tracked(state.gateway_url, str(pixel_id), postback_key(state, pixel_id), zone)
    report = asyncio.run(
        visit(
            tracked,
            impressions=impressions,
            clicks=clicks,
            conversions=conversions,
            repeat_conversions=repeat_conversions,
        )
    )
    booking = {
        "request_id": str(uuid4()),
        "campaign_id": network_id,
        "zone_id": zone,
        "impressions": report.impressions.accepted,
        "clicks": report.clicks.accepted,
        "conversions": report.conversions.accepted,
    }
    try:
        _ask(state, Name.TRAFFIC_ENGINE, "POST", "/sandbox/traffic", booking)
    except SandboxError as error:
        report.booking_error = str(error)
    return report


def postback_key(state: State, pixel_id: UUID) -> str:
    """The key in the pixel's postback URL, derived as pixel-service derives it."""
    signed = hmac.new(state.secrets["clickSigningKey"].encode(), b"postback:" + pixel_id.bytes, hashlib.sha256)
    return base64.urlsafe_b64encode(signed.digest()).decode()[:32]


def traffic_table(report: TrafficReport) -> Table:
    """What was sent and how it was answered."""
    table = Table("", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("sent", "accepted", "retries"):
        table.add_column(heading, justify="right")
    table.add_column("unexpected answers")
    for tally in report.tallies:
        if tally.sent:
            unexpected = "; ".join(f"{what} ({count} times)" for what, count in tally.unexpected.most_common(3))
            table.add_row(tally.kind, str(tally.sent), str(tally.accepted), str(tally.retried or ""), Text(unexpected))
    return table


def mail_lines(found: list[dict[str, Any]]) -> list[str]:
    """The mails, a line each under a heading; not a table of a terminal's width, which would cut the links."""
    rows = [("id", "when", "to", "subject", "link")]
    for one in found:
        when = f"{datetime.fromisoformat(one['received_at']).astimezone():%b %d %H:%M:%S}"
        subject = " ".join(one["subject"].split())
        rows.append((str(one["id"]), when, ", ".join(one["to"]), subject, " ".join(one["links"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _state() -> State:
    return load(find_home(Path.cwd(), os.environ))


def _setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SandboxError(f"{text} should be KEY=VALUE, such as fail_next=2 or drop_webhooks=true")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _find_campaign(state: State, campaign_id: UUID) -> tuple[int, UUID]:
    """TrafficEngine's id of the campaign, and its first pixel."""
    network = _look_up(
        state.database_url("campaign-service"),
        "SELECT external_id FROM campaign_networks WHERE campaign_id = %s AND network = 'TRAFFIC_ENGINE'",
        campaign_id,
    )
    if network is None:
        raise SandboxError(f"there is no campaign {campaign_id} with TrafficEngine among its networks")
    if not network[0]:
        raise SandboxError(f"campaign {campaign_id} was never started; POST /campaigns/{campaign_id}/start starts it")
    pixel = _look_up(
        state.database_url("pixel-service"),
        "SELECT id FROM pixels WHERE campaign_id = %s AND deleted_at IS NULL ORDER BY created_at LIMIT 1",
        campaign_id,
    )
    if pixel is None:
        raise SandboxError(
            f"campaign {campaign_id} has no pixel; make one: "
            f'POST /pixels {{"campaignId": "{campaign_id}", "name": "site"}}'
        )
    return int(network[0]), pixel[0]


def _asked(payment_id: UUID) -> dict[str, Any]:
    """How a payment by chain is to be paid."""
    found = _look_up(
        _state().database_url("payment-service"),
        "SELECT instructions FROM payments WHERE id = %s AND provider = 'CRYPTO'",
        payment_id,
    )
    if not found or not found[0]:
        raise SandboxError(f"there is no payment {payment_id} by chain")
    return dict(found[0])


def _look_up(url: str, statement: str, campaign_id: UUID) -> tuple[Any, ...] | None:
    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            return connection.execute(statement.encode(), (campaign_id,)).fetchone()
    except psycopg.errors.UndefinedTable:
        raise SandboxError("the services' tables are not there yet; is the platform up?") from None
    except psycopg.OperationalError:
        raise SandboxError("PostgreSQL does not answer; is the platform up? (adctl status)") from None


def _ask(state: State, name: Name, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Asks a sandbox's control endpoint. All of them may be repeated, or carry an id that makes it so."""
    repeatable = method != "POST" or "request_id" in (body or {})
    url = state.url(f"{name.value}-sandbox") + path
    for attempt in range(TRIES):
        try:
            answer = httpx.request(method, url, json=body, timeout=TIMEOUT_S, trust_env=False)
            break
        except httpx.HTTPError as error:
            if not repeatable or attempt == TRIES - 1:
                raise SandboxError(f"the {name.value} sandbox does not answer ({error}); is the platform up?") from None
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise SandboxError(f"{name.value} sandbox: {method} {path} answered {answer.status_code} without JSON")
    if answer.is_error:
        errors = found.get("errors") or [found.get("error")]
        message = errors[0].get("message") if isinstance(errors[0], dict) else None
        raise SandboxError(f"{name.value} sandbox: {message or answer.status_code}")
    return found
