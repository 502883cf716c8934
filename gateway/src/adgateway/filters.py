"""Envoy's HTTP filters, in the order in which they process a request."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from adgateway import local_replies, request_validation, routes
from adgateway.contract import Method, Token
from adgateway.settings import Settings

MAX_BODY_BYTES = 1 << 20
# Of a gRPC response: the default limit of gRPC clients.
_MAX_RESPONSE_BYTES = 4 << 20

# Accepted after a token's expiry, for requests in transit; the machines' clocks are synchronised.
_CLOCK_SKEW_S = 1

_TYPES = "type.googleapis.com/envoy.extensions.filters.http"

# The defaults of Node's helmet.
SECURITY_HEADERS = {
    "content-security-policy": "default-src 'self';base-uri 'self';font-src 'self' https: data:;form-action 'self';"
    "frame-ancestors 'self';img-src 'self' data:;object-src 'none';script-src 'self';script-src-attr 'none';"
    "style-src 'self' https: 'unsafe-inline';upgrade-insecure-requests",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "origin-agent-cluster": "?1",
    "referrer-policy": "no-referrer",
    "strict-transport-security": "max-age=31536000; includeSubDomains",
    "x-content-type-options": "nosniff",
    "x-dns-prefetch-control": "off",
    "x-download-options": "noopen",
    "x-frame-options": "SAMEORIGIN",
    "x-permitted-cross-domain-policies": "none",
    "x-xss-protection": "0",
}

_INTERNAL_HEADERS = (
    "grpc-accept-encoding",
    "grpc-message",
    "grpc-status",
    "grpc-status-details-bin",
    "x-envoy-upstream-healthchecked-cluster",
)


def http_filters(settings: Settings, methods: Sequence[Method], health_clusters: Sequence[str]) -> list[dict[str, Any]]:
    """The filters. A token is checked before the body is read, and the body is complete before it is parsed."""
    return [
        _filter(routes.HEADERS, "header_mutation.v3.HeaderMutation", _headers()),
        _filter(routes.CORS, "cors.v3.Cors", {}),
        _filter("envoy.filters.http.health_check", "health_check.v3.HealthCheck", _health(health_clusters)),
        _filter(routes.JWT, "jwt_authn.v3.JwtAuthentication", _tokens(settings, methods)),
        _filter("envoy.filters.http.buffer", "buffer.v3.Buffer", {"max_request_bytes": MAX_BODY_BYTES}),
        _filter(routes.VALIDATION, "lua.v3.Lua", _validation(settings, methods)),
        _filter(routes.TRANSCODER, "grpc_json_transcoder.v3.GrpcJsonTranscoder", _transcoding(settings, methods)),
        _filter("envoy.filters.http.router", "router.v3.Router", {"suppress_envoy_headers": True}),
    ]


def _filter(name: str, kind: str, options: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": f"{_TYPES}.{kind}", **options}}


def _headers() -> dict[str, Any]:
    added = [
        {"append": {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
        for key, value in SECURITY_HEADERS.items()
    ]
    return {"mutations": {"response_mutations": added + [{"remove": name} for name in _INTERNAL_HEADERS]}}


def _health(health_clusters: Sequence[str]) -> dict[str, Any]:
    return {
        "pass_through_mode": False,
        "headers": [{"name": ":path", "string_match": local_replies.HEALTH_PATH}],
        # A service is up if at least one worker is healthy.
        "cluster_min_healthy_percentages": {name: {"value": 1} for name in health_clusters},
    }


def _tokens(settings: Settings, methods: Sequence[Method]) -> dict[str, Any]:
    audiences = sorted({method.service for method in methods if method.bindings and method.token is Token.SERVICE})
    return {
        "providers": {
            Token.ACCESS.value: _provider("adplatform-auth", ["adplatform"])
            | {
                "remote_jwks": {
                    "http_uri": {
                        "uri": f"http://gateway:{settings.listen_port}/auth/jwks",
                        "cluster": routes.SELF_CLUSTER,
                        "timeout": "1s",
                    },
                    "cache_duration": f"{settings.keys_cache_s}s",
                    # The listener starts before the keys are there; they are fetched once auth-service answers.
                    "async_fetch": {"fast_listener": True, "failed_refetch_duration": "1s"},
                }
            },
            Token.SERVICE.value: _provider("adplatform-services", audiences)
            | {"local_jwks": {"inline_string": settings.service_keys}},
        },
        "requirement_map": {token.value: {"provider_name": token.value} for token in (Token.ACCESS, Token.SERVICE)},
    }


def _provider(issuer: str, audiences: Sequence[str]) -> dict[str, Any]:
    return {
        "issuer": issuer,
        "audiences": audiences,
        # Explicit, because by default Envoy also accepts a token in the query. The scheme is case-insensitive.
        "from_headers": [{"name": "authorization", "value_prefix": prefix} for prefix in ("Bearer ", "bearer ")],
        "forward": True,
        "require_expiration": True,
        "clock_skew_seconds": _CLOCK_SKEW_S,
    }


def _validation(settings: Settings, methods: Sequence[Method]) -> dict[str, Any]:
    return {
        "default_source_code": {"inline_string": request_validation.script(Path(settings.descriptor_path), methods)}
    }


def _transcoding(settings: Settings, methods: Sequence[Method]) -> dict[str, Any]:
    return {
        "proto_descriptor": settings.descriptor_path,
        "services": sorted({method.grpc_service for method in methods if method.bindings}),
        "convert_grpc_status": True,
        # Routes match URLs, so a client's gRPC path has no route.
        "match_incoming_request_route": True,
        "request_validation_options": {
            "reject_unknown_method": True,
            "reject_unknown_query_parameters": True,
            # Detects a collision only if the values differ and the body has the contract's spelling, and none between
            # path and query. The Lua filter refuses the rest.
            "reject_binding_body_field_collisions": True,
        },
        # Browsers encode a space in a query as a plus.
        "query_param_unescape_plus": True,
        "print_options": {"always_print_primitive_fields": True},
        "max_request_body_size": MAX_BODY_BYTES,
        "max_response_body_size": _MAX_RESPONSE_BYTES,
    }
