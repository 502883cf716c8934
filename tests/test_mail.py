"""Mail is retried until the mail server accepts it, and its links work."""

from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import pytest

from adctl.client import Client, Refused
from adctl.sandboxes.client import set_behaviour
from adctl.sandboxes.mail import list_mails
from adctl.state import State
from adtesting import eventually

pytestmark = pytest.mark.xdist_group("platform")


def test_sign_up_mail_is_retried_and_its_link_verifies_once(platform: State) -> None:
    email, client = f"{uuid4().hex}@example.com", Client(platform.gateway_url)
    set_behaviour(platform, "mail", fail_next=1)
    client.sign_up(email=email, password="correct horse battery", name="Ada", organizationName="Acme")
    (mail,) = eventually(lambda: list_mails(platform, to=email), within_s=20)
    # Settings that are not named are returned unchanged: the failure was used up.
    assert set_behaviour(platform, "mail", delay_ms=0)["fail_next"] == 0
    assert client.get("/auth/profile")["user"]["emailVerified"] is False

    (link,) = mail["links"]
    assert link.startswith(platform.gateway_url)
    (token,) = parse_qs(urlsplit(link).query)["token"]
    assert Client(platform.gateway_url).post("/auth/verify-email", {"token": token})["user"]["email"] == email
    assert client.get("/auth/profile")["user"]["emailVerified"] is True
    with pytest.raises(Refused) as again:
        Client(platform.gateway_url).post("/auth/verify-email", {"token": token})
    assert again.value.reason == "LINK_USED"
