"""Sign-up with a verified e-mail address: the verification link is opened in the same session."""

import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

from adctl.client import Client
from adctl.sandboxes.client import SandboxError
from adctl.sandboxes.mail import list_mails
from adctl.state import State

_MAIL_TIMEOUT_S = 20.0
_POLL_INTERVAL_S = 0.05


def sign_up(state: State, client: Client, **fields: str) -> Any:
    """Sign up, stay signed in and verify the e-mail address; SandboxError if no mail arrives."""
    signed = client.sign_up(**fields)
    client.post("/auth/verify-email", {"token": mailed_token(state, fields["email"], "verify-email")})
    return signed


def mailed_token(state: State, email: str, page: str) -> str:
    """Return the token in the newest mail to the address with a link to the page; SandboxError after 20 s."""
    end = time.monotonic() + _MAIL_TIMEOUT_S
    while True:
        for mail in list_mails(state, to=email):
            for link in map(urlsplit, mail["links"]):
                if link.path.endswith(f"/{page}"):
                    return parse_qs(link.query)["token"][0]
        if time.monotonic() > end:
            raise SandboxError(f"no mail with a link to {page} arrived at {email} within {_MAIL_TIMEOUT_S:.0f} s")
        time.sleep(_POLL_INTERVAL_S)
