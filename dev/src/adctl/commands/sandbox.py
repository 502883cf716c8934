"""`adctl sandbox`: plays the customers, banks and visitors of the platform, and makes outside systems misbehave."""

import json
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from adctl.commands import sandbox_chain, sandbox_stripe, sandbox_wise
from adctl.commands.context import console, current_state
from adctl.sandboxes.client import NAMES, SandboxError, call
from adctl.sandboxes.mail import get_mail, list_mails
from adctl.sandboxes.traffic import send_traffic
from adsandbox.mail.sandbox import MAX_LISTED
from adsandbox.traffic_engine.visitors import TrafficReport

_MAX_EVENTS = 1_000_000
_MAIL_HEADERS = ("received_at", "from", "to", "subject")

app = typer.Typer(help="Outside systems: pay, bounce, send traffic, read mail, misbehave.", no_args_is_help=True)
app.add_typer(sandbox_stripe.app, name="stripe")
app.add_typer(sandbox_wise.app, name="wise")
app.add_typer(sandbox_chain.app, name="chain")


def _known(name: str) -> str:
    if name not in NAMES:
        raise typer.BadParameter(f"there are {', '.join(NAMES)}")
    return name


Count = Annotated[int, typer.Option(min=0, max=_MAX_EVENTS)]


@app.command()
def traffic(
    campaign_id: Annotated[UUID, typer.Argument(help="A started campaign with a pixel.")],
    impressions: Count = 0,
    clicks: Count = 0,
    conversions: Count = 0,
    zone: Annotated[UUID | None, typer.Option(help="The publisher's zone that shows the ad.")] = None,
    repeat_conversion: Annotated[bool, typer.Option(help="Send one conversion twice, as partners do.")] = True,
) -> None:
    """Send traffic through the public tracking URLs and book it at TrafficEngine."""
    report = send_traffic(
        current_state(),
        campaign_id,
        impressions=impressions,
        clicks=clicks,
        conversions=conversions,
        zone_id=zone,
        repeat_conversions=1 if repeat_conversion and conversions else 0,
    )
    console.print(_traffic_table(report))
    if report.booking_error:
        raise SandboxError(f"the traffic was sent, but not booked at TrafficEngine: {report.booking_error}")
    if not report.ok:
        raise SandboxError("some requests got an unexpected answer; see the table")


@app.command()
def mail(
    mail_id: Annotated[int | None, typer.Argument(metavar="[ID]", help="Print this mail in full.")] = None,
    to: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Only mails to this address.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=MAX_LISTED, help="How many of the newest.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the mails that the platform sent, newest first, or print one."""
    state = current_state()
    if mail_id is not None:
        found = get_mail(state, mail_id)
        shown = [f"{name}: {', '.join(found[name]) if name == 'to' else found[name]}" for name in _MAIL_HEADERS]
        print(json.dumps(found) if as_json else "\n".join([*shown, "", found["text"]]))
        return
    newest = list_mails(state, to=to, limit=limit)
    if as_json:
        print(json.dumps(newest))
    else:
        print("\n".join(_mail_lines(newest)) if newest else "no mail yet")


@app.command()
def behaviour(
    name: Annotated[
        str, typer.Argument(help=f"Which sandbox: {', '.join(NAMES)}.", callback=_known, autocompletion=lambda: NAMES)
    ],
    wanted: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="Such as fail_next=2.")] = None,
    reset: Annotated[bool, typer.Option("--reset", help="End all misbehaviour first.")] = False,
) -> None:
    """Make an outside system misbehave, or show its behaviour."""
    state = current_state()
    if reset:
        call(state, name, "DELETE", "/sandbox/behaviour")
    if wanted:
        shown = call(state, name, "PUT", "/sandbox/behaviour", dict(_parse_setting(one) for one in wanted))
    else:
        shown = call(state, name, "GET", "/sandbox/behaviour")
    for key, value in shown.items():
        console.print(f"{key}={json.dumps(value)}", highlight=False)


def _parse_setting(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise SandboxError(f"{text} should be KEY=VALUE, such as fail_next=2 or drop_webhooks=true")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def _traffic_table(report: TrafficReport) -> Table:
    table = Table("", box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("sent", "accepted", "retries"):
        table.add_column(heading, justify="right")
    table.add_column("unexpected answers")
    for tally in report.tallies:
        if tally.sent:
            unexpected = "; ".join(f"{what} ({count} times)" for what, count in tally.unexpected.most_common(3))
            table.add_row(tally.kind, str(tally.sent), str(tally.accepted), str(tally.retried or ""), Text(unexpected))
    return table


def _mail_lines(found: list[dict[str, Any]]) -> list[str]:
    """Return a heading and a line for each mail. Not a Rich table: it would cut the links at the terminal's width."""
    rows = [("id", "when", "to", "subject", "link")]
    for one in found:
        when = f"{datetime.fromisoformat(one['received_at']).astimezone():%b %d %H:%M:%S}"
        subject = " ".join(one["subject"].split())
        rows.append((str(one["id"]), when, ", ".join(one["to"]), subject, " ".join(one["links"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
