"""Envoy's clusters: the services, and the gateway itself, which serves the keys of access tokens."""

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from adgateway.routes import SELF_CLUSTER, TRACKING_CLUSTER
from adgateway.settings import Address, Settings

_PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
# Per service: the capacity of its workers' threads and a short queue. Further requests get 503 at once.
_MAX_REQUESTS = 512


def clusters(settings: Settings, services: Sequence[str]) -> list[dict[str, Any]]:
    """Envoy's clusters for the given services."""
    missing = [service for service in services if not settings.endpoints.get(service)]
    if missing:
        raise ValueError(f"endpoints: give at least one host and port of {', '.join(missing)}")
    return [
        *(_grpc(service, settings.endpoints[service]) for service in services),
        _tracking(settings.pixel_http),
        _cluster(SELF_CLUSTER, [(_own_host(settings.listen_host), settings.listen_port)]),
    ]


def _own_host(listen_host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(listen_host, listen_host)  # noqa: S104 - compared, not bound


def _grpc(service: str, addresses: Sequence[Address]) -> dict[str, Any]:
    keepalive = {"interval": "10s", "timeout": "3s", "connection_idle_interval": "5s"}
    return _cluster(service, addresses) | {
        # The empty service name stands for the whole server.
        "health_checks": [_health_check({"grpc_health_check": {}})],
        "typed_extension_protocol_options": _protocol(
            {"http2_protocol_options": {"max_concurrent_streams": 256, "connection_keepalive": keepalive}},
            idle_timeout="300s",
        ),
    }


def _tracking(addresses: Sequence[Address]) -> dict[str, Any]:
    return _cluster(TRACKING_CLUSTER, addresses) | {
        "health_checks": [_health_check({"tcp_health_check": {}})],
        # Shorter than the servers' own idle time-out, so that no request meets a connection that is closing.
        "typed_extension_protocol_options": _protocol({"http_protocol_options": {}}, idle_timeout="4s"),
    }


def _cluster(name: str, addresses: Sequence[Address]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC" if all(_is_ip(host) for host, _ in addresses) else "STRICT_DNS",
        "connect_timeout": "1s",
        "lb_policy": "ROUND_ROBIN",
        # Without a healthy worker, requests get 503 at once and are not sent to unhealthy ones.
        "common_lb_config": {"healthy_panic_threshold": {"value": 0}},
        "circuit_breakers": {"thresholds": [_limits()]},
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [_endpoint(host, port) for host, port in addresses]}],
        },
    }


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _endpoint(host: str, port: int) -> dict[str, Any]:
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": port}}}}


def _limits() -> dict[str, Any]:
    return {
        "max_connections": _MAX_REQUESTS,
        "max_pending_requests": _MAX_REQUESTS,
        "max_requests": _MAX_REQUESTS,
        "retry_budget": {"budget_percent": {"value": 20}, "min_retry_concurrency": 3},
    }


def _health_check(kind: dict[str, Any]) -> dict[str, Any]:
    return {
        # Two failures in a row: a busy worker may answer late once, and a refused connection is 503 anyway.
        "unhealthy_threshold": 2,
        "healthy_threshold": 1,
        "timeout": "2s",
        "interval": "1s",
        "no_traffic_interval": "1s",
        "unhealthy_interval": "0.5s",
        "unhealthy_edge_interval": "0.25s",
        **kind,
    }


def _protocol(explicit: dict[str, Any], idle_timeout: str) -> dict[str, Any]:
    return {
        _PROTOCOL_OPTIONS: {
            "@type": f"type.googleapis.com/{_PROTOCOL_OPTIONS}",
            "explicit_http_config": explicit,
            "common_http_protocol_options": {"idle_timeout": idle_timeout},
        }
    }
