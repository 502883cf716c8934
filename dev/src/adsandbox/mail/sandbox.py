"""A mail server that stores every mail, delivers none and lists them at its control endpoints."""

import asyncio
import html
import json
import re
import time
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import MessageError
from email.message import EmailMessage
from email.policy import default
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adsandbox.behaviour import Behaviour
from adsandbox.control import BadJson, ControlError, control_error
from adsandbox.database import Database
from adsandbox.sandbox import Listener, Sandbox, application
from adsandbox.settings import Settings

SCHEMA = """
CREATE TABLE IF NOT EXISTS mails (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  received_at REAL NOT NULL,
  sender TEXT NOT NULL,
  recipients TEXT NOT NULL,
  subject TEXT NOT NULL,
  body TEXT NOT NULL
);
"""

MAX_BYTES = 2**20
DEFAULT_LISTED = 50
MAX_LISTED = 500
MAX_STORED = 10_000
# SMTP's temporary failure, as of a busy server; 5xx is permanent.
DEFAULT_FAILURE_STATUS = 451

_LINK = re.compile(r"https?://[^\s<>\"']+")


def build(settings: Settings) -> Sandbox:
    """Return the sandbox with its stored mails."""
    database = Database(settings.state_dir / "mail.db", SCHEMA)
    behaviour = Behaviour(status=DEFAULT_FAILURE_STATUS)
    mails = Mails(database, behaviour)

    def smtp() -> SMTP:
        return SMTP(mails, data_size_limit=MAX_BYTES, enable_SMTPUTF8=True, hostname="localhost")

    def failure(status: int) -> Response:
        return JSONResponse({"error": {"message": "The sandbox was asked to fail."}}, status)

    app = application(mails.routes(), behaviour, failure, {BadJson: control_error})
    return Sandbox(
        "mail-sandbox",
        settings.port("mail"),
        app,
        database,
        listeners=[Listener("mail-sandbox-smtp", settings.integer("MAIL_SANDBOX_SMTP_PORT", highest=65535), smtp)],
    )


class Mails:
    """Stores mails from aiosmtpd, which calls `handle_DATA`, and lists them."""

    def __init__(self, database: Database, behaviour: Behaviour) -> None:
        self._database = database
        self._behaviour = behaviour

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802 aiosmtpd's name
        """Store the mail, unless the request is to fail. A lost answer is a connection that breaks after storing."""
        await asyncio.sleep(self._behaviour.delay_ms / 1000)
        fails = self._behaviour.consume_failure()
        if fails and not self._behaviour.lose_answers:
            return f"{self._behaviour.status} The sandbox was asked to fail"
        try:
            self._store(envelope)
        except (LookupError, ValueError, MessageError) as error:
            return f"554 The mail cannot be read: {type(error).__name__}"
        if fails and isinstance(server.transport, asyncio.WriteTransport):
            server.transport.abort()
            await asyncio.get_running_loop().create_future()  # the end of the connection cancels this
        return "250 Kept"

    def _store(self, envelope: Envelope) -> None:
        message: EmailMessage = message_from_bytes(envelope.original_content or b"", policy=default)
        values = (
            time.time(),
            envelope.mail_from or "",
            json.dumps(envelope.rcpt_tos),
            str(message["subject"] or ""),
            _text(message),
        )
        mail_id = self._database.execute(
            "INSERT INTO mails (received_at, sender, recipients, subject, body) VALUES (?, ?, ?, ?, ?)", values
        )
        self._database.execute("DELETE FROM mails WHERE id <= ?", (mail_id - MAX_STORED,))

    def routes(self) -> list[Route]:
        """Return the control endpoints."""
        return [
            Route("/sandbox/mails", self._list, methods=["GET"]),
            Route("/sandbox/mails", self._delete, methods=["DELETE"]),
            Route("/sandbox/mails/{id:int}", self._get, methods=["GET"]),
        ]

    async def _list(self, request: Request) -> Response:
        """List the newest mails first; `to` ignores case, `limit` is at most `MAX_LISTED`."""
        wanted, limit = request.query_params.get("to"), request.query_params.get("limit", str(DEFAULT_LISTED))
        if not limit.isdecimal() or not 1 <= int(limit) <= MAX_LISTED:
            raise ControlError(400, f"limit must be a whole number from 1 to {MAX_LISTED}")
        rows = self._database.rows(
            """
            SELECT * FROM mails WHERE :wanted IS NULL
              OR EXISTS (SELECT 1 FROM json_each(recipients) WHERE lower(value) = lower(:wanted))
            ORDER BY id DESC LIMIT :limit
            """,
            {"wanted": wanted, "limit": int(limit)},
        )
        return JSONResponse({"mails": [_rendered(row) for row in rows]})

    async def _get(self, request: Request) -> Response:
        mail_id = request.path_params["id"]
        row = self._database.row("SELECT * FROM mails WHERE id = ?", (mail_id,))
        if row is None:
            raise ControlError(404, f"there is no mail {mail_id}; GET /sandbox/mails lists them")
        return JSONResponse(_rendered(row))

    async def _delete(self, _: Request) -> Response:
        rows = self._database.rows("DELETE FROM mails RETURNING id")
        return JSONResponse({"deleted": len(rows)})


def _text(message: EmailMessage) -> str:
    """Return the plain text, or else the HTML with its entities resolved."""
    part = message.get_body(("plain", "html"))
    if part is None:
        return ""
    text = str(part.get_content())
    return html.unescape(text) if part.get_content_subtype() == "html" else text


def _rendered(row: Any) -> dict[str, Any]:
    links = (found.rstrip(".,;:!?)]") for found in _LINK.findall(row["body"]))
    return {
        "id": row["id"],
        "received_at": datetime.fromtimestamp(row["received_at"], UTC).isoformat(timespec="milliseconds"),
        "from": row["sender"],
        "to": json.loads(row["recipients"]),
        "subject": row["subject"],
        "text": row["body"],
        "links": list(dict.fromkeys(links)),
    }
