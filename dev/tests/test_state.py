import json
from pathlib import Path

import pytest

from adctl import ports
from adctl.keys import IDENTITIES, Keys
from adctl.state import PORTS, StateError, find_home, load, prepare
from adlib.errors import TokenInvalid
from adlib.identity import Service, Verifier, parse_jwks


def test_saved_state_loads_unchanged(tmp_path: Path) -> None:
    state = prepare(tmp_path / "home", 8080)
    assert load(tmp_path / "home") == state
    document = json.loads(state.paths.dev_json.read_text())
    assert document["gatewayUrl"] == "http://localhost:8080"
    assert document["admin"] == {"email": state.admin_email, "password": state.admin_password}
    assert document["stripe"]["webhookSecret"].startswith("whsec_")
    assert document["ports"] == {"gateway": 8080, **state.ports}


def test_secrets_are_readable_by_their_owner_only(tmp_path: Path) -> None:
    state = prepare(tmp_path / "home", 8080)
    Keys(state.paths.keys).make()
    files = [state.paths.dev_json, *(path for path in state.paths.keys.rglob("*") if path.is_file())]
    assert len(files) > len(IDENTITIES)
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    assert Keys(state.paths.keys).tokens.folder.stat().st_mode & 0o777 == 0o700
    assert state.admin_password not in repr(state)


def test_next_start_retains_secrets_and_free_ports(tmp_path: Path) -> None:
    first = prepare(tmp_path, 8080)
    second = prepare(tmp_path, first.ports["postgres"])
    assert second.secrets == first.secrets
    assert {name for name in PORTS if second.ports[name] != first.ports[name]} == {"postgres"}
    assert len({*second.ports.values(), second.gateway_port}) == len(PORTS) + 1


def test_lost_dev_json_does_not_change_secrets(tmp_path: Path) -> None:
    first = prepare(tmp_path, 8080)
    first.paths.dev_json.unlink()
    with pytest.raises(StateError, match="adctl up"):
        load(tmp_path)
    assert prepare(tmp_path, 8080).secrets == first.secrets


@pytest.mark.parametrize("text", ["{", "[]", '{"ports": {}}'])
def test_damaged_dev_json_is_named(tmp_path: Path, text: str) -> None:
    state = prepare(tmp_path, 8080)
    state.paths.dev_json.write_text(text)
    with pytest.raises(StateError, match=str(state.paths.dev_json)):
        load(tmp_path)


def test_home_in_a_services_folder_is_that_of_the_workspace(tmp_path: Path) -> None:
    service = tmp_path / "work" / "auth-service" / "src"
    service.mkdir(parents=True)
    (tmp_path / "work" / "protos").mkdir()
    for folder in (tmp_path / "work", service.parent):
        (folder / "Makefile").touch()
    assert find_home(service, {}) == tmp_path / "work" / ".adplatform"
    assert find_home(service, {"ADPLATFORM_HOME": str(tmp_path / "else")}) == tmp_path / "else"
    assert find_home(tmp_path, {}) == tmp_path / ".adplatform"


def test_service_token_is_accepted_by_services(tmp_path: Path) -> None:
    keys = Keys(tmp_path)
    keys.make()
    public = keys.jwks.read_text()
    keys.make()
    assert keys.jwks.read_text() == public
    verifier = Verifier("campaign-service", user_keys=lambda kid: None, service_keys=parse_jwks(public))
    assert verifier.verify(keys.service_token("operator", "campaign-service")) == Service("operator")
    with pytest.raises(TokenInvalid):
        verifier.verify(keys.service_token("operator", "payment-service"))


def test_port_with_a_listener_is_not_free() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind((ports.LOOPBACK, 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not ports.is_free(port)
        assert "pid" in ports.holder(port)
        assert ports.choose(port, set()) != port
    assert ports.is_free(port)
    assert ports.choose(port, {port}) != port
