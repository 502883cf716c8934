"""Newcomers to the platform here: they sign up, and open the link in the mail in the same browser."""

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adctl.client import Client
from adctl.sandbox_commands import SandboxError, mails
from adctl.state import State

_MAIL_WITHIN_S = 20.0
_ASK_EVERY_S = 0.05


def sign_up(state: State, client: Client, **fields: str) -> Any:
    """Signs up, stays signed in and verifies the e-mail; SandboxError where no mail comes."""
    signed = client.sign_up(**fields)
    client.post("/auth/verify-email", {"token": mailed_token(state, fields["email"], "verify-email")})
    return signed


def mailed_token(state: State, email: str, page: str) -> str:
    """The token in the newest mail to this address with a link to this page; SandboxError where none comes."""
    end = time.monotonic() + _MAIL_WITHIN_S
    while True:
        for mail in mails(state, to=email):
            for link in map(urlsplit, mail["links"]):
                if link.path.endswith(f"/{page}"):
                    return parse_qs(link.query)["token"][0]
        if time.monotonic() > end:
            raise SandboxError(f"no mail with a link to {page} has come to {email} within {_MAIL_WITHIN_S:.0f} s")
        time.sleep(_ASK_EVERY_S)
