"""The signing key of access tokens is rotated while the platform runs, without interruption."""

import os
import subprocess
import sys
from uuid import uuid4

import jwt
import pytest

from adctl.client import Client
from adctl.platform.status import find
from adctl.state import State
from adctl.token_keys import PROPAGATION_S
from adtesting import eventually

pytestmark = pytest.mark.xdist_group("platform")

PASSWORD = "correct horse battery"
BEGINS_IN_S = PROPAGATION_S + 1


def process_ids(platform: State) -> dict[str, int | None]:
    running = find(platform.paths)
    assert running is not None
    return {view.name: view.pid for view in running.snapshot.processes}


def kid(token: str) -> str:
    return str(jwt.get_unverified_header(token)["kid"])


def use(client: Client) -> None:
    """Calls two services through the gateway; Refused if one does not accept the token."""
    assert client.get("/auth/profile")["memberships"]
    assert client.get("/campaigns")["campaigns"] == []


def test_new_key_signs_without_a_restart_and_tokens_of_the_old_key_stay_valid(platform: State) -> None:
    eventually(lambda: (running := find(platform.paths)) is not None and running.snapshot.is_healthy, within_s=30)
    before = process_ids(platform)
    email, old = f"{uuid4().hex}@example.com", Client(platform.gateway_url)
    old.sign_up(email=email, password=PASSWORD, name="Ada", organizationName="Acme")
    use(old)

    rotated = subprocess.run(
        [sys.executable, "-m", "adctl", "keys", "rotate", "--in", str(BEGINS_IN_S)],
        env={**os.environ, "ADPLATFORM_HOME": str(platform.paths.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert f"in {BEGINS_IN_S} s" in rotated.stdout

    def token_of_new_key() -> str | None:
        answer = Client(platform.gateway_url).post("/auth/login", {"email": email, "password": PASSWORD})
        token = str(answer["accessToken"])
        return None if kid(token) == kid(old.token) else token

    assert token_of_new_key() is None, "the new key signs before its start"
    token = eventually(token_of_new_key, within_s=BEGINS_IN_S + 15, every_s=0.5)
    # The gateway already has the new key when its first token is used.
    use(Client(platform.gateway_url, token, old.organization_id))
    use(old)
    listed = {key["kid"] for key in Client(platform.gateway_url).get("/auth/jwks")["keys"]}
    assert {kid(token), kid(old.token)} <= listed
    assert process_ids(platform) == before
