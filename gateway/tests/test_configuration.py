"""What is written, and what is refused."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from adgateway.__main__ import main
from adgateway.configuration import Settings, render
from adgateway.contract import path_pattern, precedence

from .running import CONTRACT, Tokens, envoy_command, settings


@pytest.fixture
def chosen() -> Settings:
    return settings(Tokens(), 1)


def test_envoy_finds_the_configuration_valid(chosen: Settings, tmp_path: Path) -> None:
    written = tmp_path / "envoy.json"
    written.write_text(json.dumps(render(chosen)))
    checked = subprocess.run(
        [*envoy_command(written), "--mode", "validate", "--log-level", "warning"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()


def test_the_command_writes_what_render_says(
    chosen: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(chosen.service_keys)
    given = {
        "listen_port": chosen.listen_port,
        "admin_port": chosen.admin_port,
        "endpoints": {name: [f"{host}:{port}" for host, port in those] for name, those in chosen.endpoints.items()},
        "pixel_http": [f"{host}:{port}" for host, port in chosen.pixel_http],
        "service_keys_file": str(keys),
        "cors_origins": list(chosen.cors_origins),
    }
    read, written = tmp_path / "settings.json", tmp_path / "envoy.json"
    read.write_text(json.dumps(given))
    assert main([str(read), "--output", str(written)]) == 0
    assert json.loads(written.read_text()) == json.loads(json.dumps(render(chosen)))
    for wrong, named in [
        ({"nope": 1}, "nope"),
        ({"pixel_http": ["localhost"]}, "localhost"),
        ({"endpoints": {}}, "auth-service"),
        ({"pixel_http": []}, "pixel_http"),
        ({"listen_port": None, "endpoints": 5}, "wrong kind"),
        ({"service_keys_file": "/none"}, "/none"),
        ({"descriptor_path": "/none"}, "/none"),
        ({"timeout_ms": 10}, "timeout_ms"),
    ]:
        read.write_text(json.dumps(given | wrong))
        assert main([str(read)]) == 2
        assert named in capsys.readouterr().err


def test_names_are_resolved_and_addresses_are_not(chosen: Settings) -> None:
    endpoints = {**chosen.endpoints, "auth-service": [("auth-service.internal", 9000)]}
    written = render(replace(chosen, endpoints=endpoints))["static_resources"]["clusters"]
    kinds = {cluster["name"]: cluster["type"] for cluster in written}
    assert kinds.pop("auth-service") == "STRICT_DNS"
    assert set(kinds.values()) == {"STATIC"}


def test_only_reads_are_sent_again_once_they_may_have_been_worked_on(chosen: Settings) -> None:
    listener = render(chosen)["static_resources"]["listeners"][0]
    connections = listener["filter_chains"][0]["filters"][0]["typed_config"]
    routes = {
        route["name"]: route for route in connections["route_config"]["virtual_hosts"][0]["routes"] if "name" in route
    }
    for method in CONTRACT:
        if method.bindings:
            retried = routes[method.grpc_path]["route"]["retry_policy"]["retry_on"].split(",")
            assert ("unavailable" in retried) == method.read_only
            assert "connect-failure" in retried


@pytest.mark.parametrize(
    ("template", "pattern"),
    [
        ("/campaigns", "/campaigns"),
        ("/campaigns/{id}/start", "/campaigns/[^/]+/start"),
        ("/v1/{name=shelves/*/books/*}:move", "/v1/shelves/[^/]+/books/[^/]+:move"),
        ("/files/{path=**}", "/files/.+"),
        ("/a.b/{x}", r"/a\.b/[^/]+"),
    ],
)
def test_templates_become_patterns(template: str, pattern: str) -> None:
    assert path_pattern(template) == pattern


def test_literal_segments_go_first() -> None:
    templates = ["/a/{x}", "/a/{x}/c", "/a/b", "/{y}/b", "/a/b/{z}"]
    assert sorted(templates, key=precedence) == ["/a/b", "/a/b/{z}", "/a/{x}", "/a/{x}/c", "/{y}/b"]
