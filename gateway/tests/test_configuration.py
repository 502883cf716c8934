"""The generated configuration, and invalid settings."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from adgateway.__main__ import main
from adgateway.configuration import Settings, render
from adgateway.contract import path_pattern, precedence

from .harness import CONTRACT, Tokens, envoy_command, settings


@pytest.fixture
def gateway_settings() -> Settings:
    return settings(Tokens(), 1)


def test_envoy_accepts_the_configuration(gateway_settings: Settings, tmp_path: Path) -> None:
    written = tmp_path / "envoy.json"
    written.write_text(json.dumps(render(gateway_settings)))
    checked = subprocess.run(
        [*envoy_command(written), "--mode", "validate", "--log-level", "warning"], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stderr
    assert "deprecated" not in checked.stderr.lower()


def test_command_writes_the_rendered_configuration_and_names_invalid_settings(
    gateway_settings: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(gateway_settings.service_keys)
    given = {
        "listen_port": gateway_settings.listen_port,
        "admin_port": gateway_settings.admin_port,
        "endpoints": {
            name: [f"{host}:{port}" for host, port in those] for name, those in gateway_settings.endpoints.items()
        },
        "pixel_http": [f"{host}:{port}" for host, port in gateway_settings.pixel_http],
        "service_keys_file": str(keys),
        "cors_origins": list(gateway_settings.cors_origins),
    }
    read, written = tmp_path / "settings.json", tmp_path / "envoy.json"
    read.write_text(json.dumps(given))
    assert main([str(read), "--output", str(written)]) == 0
    assert json.loads(written.read_text()) == json.loads(json.dumps(render(gateway_settings)))
    for wrong, named in [
        ({"nope": 1}, "nope"),
        ({"pixel_http": ["localhost"]}, "localhost"),
        ({"endpoints": {}}, "auth-service"),
        ({"pixel_http": []}, "pixel_http"),
        ({"listen_port": None, "endpoints": 5}, "wrong type"),
        ({"service_keys_file": "/none"}, "/none"),
        ({"descriptor_path": "/none"}, "/none"),
        ({"timeout_ms": 10}, "timeout_ms"),
    ]:
        read.write_text(json.dumps(given | wrong))
        assert main([str(read)]) == 2
        assert named in capsys.readouterr().err


def test_host_names_are_resolved_by_dns(gateway_settings: Settings) -> None:
    endpoints = {**gateway_settings.endpoints, "auth-service": [("auth-service.internal", 9000)]}
    written = render(replace(gateway_settings, endpoints=endpoints))["static_resources"]["clusters"]
    kinds = {cluster["name"]: cluster["type"] for cluster in written}
    assert kinds.pop("auth-service") == "STRICT_DNS"
    assert set(kinds.values()) == {"STATIC"}


def test_only_reads_are_retried_after_they_were_sent(gateway_settings: Settings) -> None:
    listener = render(gateway_settings)["static_resources"]["listeners"][0]
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
def test_path_template_becomes_a_pattern(template: str, pattern: str) -> None:
    assert path_pattern(template) == pattern


def test_literal_segments_precede_variables() -> None:
    templates = ["/a/{x}", "/a/{x}/c", "/a/b", "/{y}/b", "/a/b/{z}"]
    assert sorted(templates, key=precedence) == ["/a/b", "/a/b/{z}", "/a/{x}", "/a/{x}/c", "/{y}/b"]
