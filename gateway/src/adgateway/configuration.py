"""Envoy's bootstrap configuration, generated from the contract and the settings."""

from pathlib import Path
from typing import Any

from adgateway import contract, filters, local_replies, routes
from adgateway.clusters import clusters
from adgateway.settings import Settings

__all__ = ["Settings", "render"]

_TYPES = "type.googleapis.com/envoy"
_MAX_HEADERS_KIB = 32
_MAX_HEAP_BYTES = 512 << 20
_MAX_CONNECTIONS = 10_000

# A client's request id is used if it is short and plain, and replaced otherwise.
_ID = "request.headers['x-request-id']"
_OWN_ID = f"{_ID}.matches('^[A-Za-z0-9._-]+$') && size({_ID}) <= 64 ? {_ID} : ''"


def render(settings: Settings) -> dict[str, Any]:
    """Envoy's bootstrap configuration, ready to be written as JSON or YAML."""
    methods = contract.read(Path(settings.descriptor_path))
    services = sorted({method.service for method in methods if method.bindings})
    return {
        "node": {"id": "gateway", "cluster": "gateway"},
        "admin": {"address": _address("127.0.0.1", settings.admin_port)},
        "static_resources": {
            "listeners": [_listener(settings, methods, [*services, routes.TRACKING_CLUSTER])],
            "clusters": clusters(settings, services),
        },
        "overload_manager": _overload(),
    }


def _address(host: str, port: int) -> dict[str, Any]:
    return {"socket_address": {"address": host, "port_value": port}}


def _listener(settings: Settings, methods: list[contract.Method], health_clusters: list[str]) -> dict[str, Any]:
    connections = {
        "@type": f"{_TYPES}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "gateway",
        "route_config": routes.route_config(settings, methods),
        "http_filters": filters.http_filters(settings, methods, health_clusters),
        "local_reply_config": local_replies.local_reply_config(filters.SECURITY_HEADERS),
        **_identity(settings),
        **_limits(),
        "access_log": [_access_log()],
    }
    return {
        "name": "gateway",
        "address": _address(settings.listen_host, settings.listen_port),
        # With port reuse, a second gateway on this port would get half of the connections instead of failing.
        "enable_reuse_port": False,
        "per_connection_buffer_limit_bytes": filters.MAX_BODY_BYTES,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": connections}]}
        ],
    }


def _identity(settings: Settings) -> dict[str, Any]:
    """The client's address and the request's id, and which headers of a client are trusted."""
    return {
        "use_remote_address": True,
        "xff_num_trusted_hops": settings.xff_num_trusted_hops,
        # No network is internal, so x-envoy-* headers of clients are always ignored.
        "internal_address_config": {"cidr_ranges": [{"address_prefix": "255.255.255.255", "prefix_len": 32}]},
        "server_name": "adplatform",
        "preserve_external_request_id": True,
        "always_set_request_id_in_response": True,
        "request_id_extension": {
            "typed_config": {
                "@type": f"{_TYPES}.extensions.request_id.uuid.v3.UuidRequestIdConfig",
                "pack_trace_reason": False,
            }
        },
        "early_header_mutation_extensions": [
            {
                "name": "envoy.http.early_header_mutation.header_mutation",
                "typed_config": {
                    "@type": f"{_TYPES}.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
                    "mutations": _early_mutations(),
                },
            }
        ],
    }


def _early_mutations() -> list[dict[str, Any]]:
    def set_header(name: str, value: str) -> dict[str, Any]:
        # An empty value leaves the header unchanged.
        return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}

    return [
        {"remove": "x-own-request-id"},
        set_header("x-own-request-id", f"%CEL({_OWN_ID})%"),
        {"remove": "x-request-id"},
        set_header("x-request-id", "%REQ(x-own-request-id)%"),
        {"remove": "x-own-request-id"},
        {"remove": "grpc-timeout"},
        {"remove": "x-envoy-original-path"},
    ]


def _limits() -> dict[str, Any]:
    return {
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "REJECT_REQUEST",
        "max_request_headers_kb": _MAX_HEADERS_KIB,
        "common_http_protocol_options": {
            "max_headers_count": 100,
            "idle_timeout": "300s",
            "headers_with_underscores_action": "DROP_HEADER",
        },
        "http2_protocol_options": {
            "max_concurrent_streams": 100,
            "initial_stream_window_size": 65_536,
            "initial_connection_window_size": 1 << 20,
        },
        "request_headers_timeout": "10s",
        "request_timeout": "30s",
        "stream_idle_timeout": "60s",
        "delayed_close_timeout": "1s",
    }


def _access_log() -> dict[str, Any]:
    return {
        "name": "envoy.access_loggers.stdout",
        "typed_config": {
            "@type": f"{_TYPES}.extensions.access_loggers.stream.v3.StdoutAccessLog",
            "log_format": {
                "json_format": {
                    "time": "%START_TIME%",
                    "requestId": "%RESP(x-request-id)%",
                    "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
                    "method": "%REQ(:method)%",
                    # Without the query, which can contain keys.
                    "path": "%PATH(NQ:ORIG_OR_PATH)%",
                    "rpc": "%ROUTE_NAME%",
                    "status": "%RESPONSE_CODE%",
                    "why": "%RESPONSE_CODE_DETAILS%",
                    "flags": "%RESPONSE_FLAGS%",
                    "durationMs": "%DURATION%",
                    "bytesReceived": "%BYTES_RECEIVED%",
                    "bytesSent": "%BYTES_SENT%",
                    "upstream": "%UPSTREAM_HOST%",
                    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
                },
                "omit_empty_values": True,
            },
        },
    }


def _overload() -> dict[str, Any]:
    """Limits of memory and connections, above which requests get 503."""
    kinds = f"{_TYPES}.extensions.resource_monitors"
    return {
        "refresh_interval": "0.25s",
        "resource_monitors": [
            {
                "name": "envoy.resource_monitors.fixed_heap",
                "typed_config": {
                    "@type": f"{kinds}.fixed_heap.v3.FixedHeapConfig",
                    "max_heap_size_bytes": _MAX_HEAP_BYTES,
                },
            },
            {
                "name": "envoy.resource_monitors.global_downstream_max_connections",
                "typed_config": {
                    "@type": f"{kinds}.downstream_connections.v3.DownstreamConnectionsConfig",
                    "max_active_downstream_connections": _MAX_CONNECTIONS,
                },
            },
        ],
        "actions": [
            {
                "name": "envoy.overload_actions.stop_accepting_requests",
                "triggers": [{"name": "envoy.resource_monitors.fixed_heap", "threshold": {"value": 0.95}}],
            }
        ],
    }
