"""Envoy's routes: one per HTTP binding of the contract, and errors for all other requests."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from adgateway import contract, local_replies, request_validation
from adgateway.contract import Binding, Method, Token
from adgateway.settings import Settings

JWT = "envoy.filters.http.jwt_authn"
TRANSCODER = "envoy.filters.http.grpc_json_transcoder"
VALIDATION = "envoy.filters.http.lua"
CORS = "envoy.filters.http.cors"
HEADERS = "envoy.filters.http.header_mutation"
TRACKING_CLUSTER = "pixel-http"
SELF_CLUSTER = "gateway"

# The service's deadline is earlier than the gateway's, so that its own error arrives.
_DEADLINE_MARGIN_MS = 500
# Streams have no deadline, only this idle time-out.
_STREAM_IDLE = "300s"

# Safe to retry for every RPC: the service has not received the request.
_NEVER_SENT = "connect-failure,refused-stream"
_FILTERS = "type.googleapis.com/envoy.extensions.filters.http"
_DISABLED = {"@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig", "disabled": True}
_PASS_THROUGH = dict.fromkeys((JWT, VALIDATION, TRANSCODER), _DISABLED)


def route_config(settings: Settings, methods: Sequence[Method]) -> dict[str, Any]:
    """Envoy's RouteConfiguration. A request without a matching binding never reaches a service."""
    bound = sorted(
        ((binding, method) for method in methods for binding in method.bindings),
        key=lambda bound: contract.precedence(bound[0].template),
    )
    verbs: dict[str, list[str]] = defaultdict(list)
    for binding, _ in bound:
        verbs[binding.template].append(binding.verb)
    return {
        "name": "contract",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "typed_per_filter_config": {
                    CORS: _cors([{"exact": origin} for origin in settings.cors_origins]),
                    JWT: _require(Token.ACCESS),
                },
                "routes": [
                    *_tracking(settings),
                    _native_grpc(settings),
                    _preflight(settings),
                    _repeated_authorization(),
                    *(route for binding, method in bound for route in _binding_routes(settings, binding, method)),
                    *(_method_not_allowed(template, allowed) for template, allowed in verbs.items()),
                    {"match": {"prefix": "/"}, **_error(404)},
                ],
            }
        ],
        # Only the client's address as the gateway sees it, in place of a list that the client can forge.
        "request_headers_to_add": [_header("x-forwarded-for", "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%")],
    }


def _binding_routes(settings: Settings, binding: Binding, method: Method) -> Iterable[dict[str, Any]]:
    """The binding's route, preceded by one for API keys if an access token is required."""
    if method.token is Token.ACCESS:
        # The called service verifies the key with auth-service.
        yield _route(settings, binding, method, [{"name": "x-api-key", "present_match": True}], Token.NONE)
    yield _route(settings, binding, method, [], method.token)


def _route(
    settings: Settings, binding: Binding, method: Method, headers: list[dict[str, Any]], token: Token
) -> dict[str, Any]:
    return {
        "name": method.grpc_path,
        "match": _match(binding.template) | {"headers": [_verb(binding.verb), *headers]},
        "metadata": {"filter_metadata": {VALIDATION: {"binding": binding.name}}},
        "route": {"cluster": method.service, **_timeouts(settings, method), "retry_policy": _retries(method)},
        "request_headers_to_add": [] if method.server_streaming else [_deadline(settings)],
        "typed_per_filter_config": {JWT: _require(token)},
    }


def _native_grpc(settings: Settings) -> dict[str, Any]:
    """Answers native gRPC with the 404 in JSON of an unknown path.

    Envoy renders each local reply to a gRPC request as gRPC, so the request is proxied to the gateway itself with
    another content type.
    """
    return {
        "name": "native gRPC",
        "match": {
            "prefix": "/",
            "headers": [{"name": "content-type", "string_match": {"prefix": "application/grpc", "ignore_case": True}}],
        },
        "route": {"cluster": SELF_CLUSTER, "timeout": _timeout(settings), "prefix_rewrite": "/grpc."},
        "request_headers_to_add": [_header("content-type", "application/octet-stream")],
        "typed_per_filter_config": _PASS_THROUGH,
    }


def _preflight(settings: Settings) -> dict[str, Any]:
    """A route for the CORS filter, which answers preflights only on routes with a cluster."""
    present = {"safe_regex": {"regex": ".+"}}
    return {
        "name": "preflight",
        "match": {
            "prefix": "/",
            "headers": [
                _verb("OPTIONS"),
                {"name": "origin", "string_match": present},
                {"name": "access-control-request-method", "string_match": present},
            ],
        },
        # If the filter forwarded one, it would be no preflight without its origin, and get 404.
        "route": {"cluster": SELF_CLUSTER, "timeout": _timeout(settings), "prefix_rewrite": "/grpc."},
        "request_headers_to_remove": ["origin"],
        "typed_per_filter_config": _PASS_THROUGH,
    }


def _repeated_authorization() -> dict[str, Any]:
    """Refuses two tokens: the gateway would verify one and the service might use the other.

    A route does it, because it runs before the token is verified. Envoy joins repeated values of this header by commas;
    those of the other SINGLE_HEADERS stay separate, and only the Lua filter can count them.
    """
    name = "authorization"
    return {
        "name": "repeated authorization",
        "match": {"prefix": "/", "headers": [{"name": name, "string_match": {"contains": ","}}]},
        "direct_response": {
            "status": 400,
            "body": {"inline_string": local_replies.invalid_field(name, request_validation.ONE_VALUE)},
        },
        "typed_per_filter_config": _PASS_THROUGH,
    }


def _tracking(settings: Settings) -> Iterable[dict[str, Any]]:
    """Proxies /track/ to the HTTP server of pixel-service, for pages of every origin."""
    for verb in ("GET", None):
        yield {
            "name": "/track/",
            "match": {"prefix": "/track/"} | ({"headers": [_verb(verb)]} if verb else {}),
            "route": {"cluster": TRACKING_CLUSTER, "timeout": _timeout(settings)}
            | ({"retry_policy": {"retry_on": "connect-failure", "num_retries": 1}} if verb else {}),
            "typed_per_filter_config": {
                **_PASS_THROUGH,
                CORS: _cors([{"safe_regex": {"regex": ".*"}}]),
                HEADERS: {
                    "@type": f"{_FILTERS}.header_mutation.v3.HeaderMutationPerRoute",
                    "mutations": {
                        "response_mutations": [{"append": _header("cross-origin-resource-policy", "cross-origin")}]
                    },
                },
            },
        }


def _method_not_allowed(template: str, allowed: list[str]) -> dict[str, Any]:
    return {
        "match": _match(template),
        **_error(405),
        "response_headers_to_add": [_header("allow", ", ".join(sorted(allowed)))],
    }


def _error(status: int) -> dict[str, Any]:
    return {
        "direct_response": {"status": status},
        "typed_per_filter_config": _PASS_THROUGH,
    }


def _match(template: str) -> dict[str, Any]:
    if contract.is_literal(template):
        return {"path": template}
    return {"safe_regex": {"regex": contract.path_pattern(template)}}


def _verb(verb: str) -> dict[str, Any]:
    return {"name": ":method", "string_match": {"exact": verb}}


def _header(key: str, value: str) -> dict[str, Any]:
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def _require(token: Token) -> dict[str, Any]:
    requirement = {"disabled": True} if token is Token.NONE else {"requirement_name": token.value}
    return {"@type": f"{_FILTERS}.jwt_authn.v3.PerRouteConfig", **requirement}


def _timeout(settings: Settings) -> str:
    return f"{settings.timeout_ms / 1000:g}s"


def _deadline(settings: Settings) -> dict[str, Any]:
    return _header("grpc-timeout", f"{settings.timeout_ms - _DEADLINE_MARGIN_MS}m")


def _timeouts(settings: Settings, method: Method) -> dict[str, Any]:
    if method.server_streaming:
        return {"timeout": "0s", "idle_timeout": _STREAM_IDLE}
    return {"timeout": _timeout(settings)}


def _retries(method: Method) -> dict[str, Any]:
    is_safe_to_repeat = method.read_only and not method.server_streaming
    return {
        "retry_on": f"{_NEVER_SENT},unavailable,reset" if is_safe_to_repeat else _NEVER_SENT,
        "num_retries": 1,
        "retry_back_off": {"base_interval": "0.025s", "max_interval": "0.25s"},
        "retry_host_predicate": [
            {
                "name": "another-worker",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
                },
            }
        ],
        "host_selection_retry_max_attempts": 3,
    }


def _cors(origins: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "@type": f"{_FILTERS}.cors.v3.CorsPolicy",
        "allow_origin_string_match": origins,
        "forward_not_matching_preflights": False,
        "allow_methods": "GET, POST, PUT, PATCH, DELETE",
        "allow_headers": "authorization, content-type, idempotency-key, organization-id, x-api-key, x-request-id",
        "expose_headers": "x-request-id, retry-after",
        "max_age": "600",
    }
