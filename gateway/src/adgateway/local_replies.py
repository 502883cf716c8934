"""Envoy's local replies: the gateway's own responses, in the JSON shape of the services' errors."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

HEALTH_PATH = {"safe_regex": {"regex": r"/health(\?.*)?"}}

_MISSING_KEYS = "jwt_authn_access_denied{Jwks_remote_fetch_is_failed}"
_UNREACHABLE = "the service does not answer; try again"


@dataclass(frozen=True)
class _LocalReply:
    """The error for responses that match `when`. `code` is the google.rpc.Code; `status` replaces the HTTP status."""

    when: dict[str, Any]
    code: int
    reason: str
    message: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def local_reply_config(headers: Mapping[str, str]) -> dict[str, Any]:
    """Envoy's LocalReplyConfig; every reply has `headers`, also one made before the filters run."""
    return {
        "mappers": [
            _healthy(headers),
            *_with_own_body(headers),
            *(_mapper(reply, headers) for reply in _LOCAL_REPLIES),
        ],
        "body_format": _error(13, "INTERNAL", "the gateway cannot answer this; quote the request id"),
    }


def _healthy(headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        "filter": {"and_filter": {"filters": [_path(HEALTH_PATH), _status(200)]}},
        "body_format_override": {"json_format": {"status": "ok"}},
        "headers_to_add": _added(headers),
    }


def invalid_field(field: str, description: str) -> str:
    """The JSON body of an INVALID_FIELD error that names the field."""
    violation = {"field": field, "description": description}
    bad_request = {"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": [violation]}
    details = [_error_info("INVALID_FIELD"), bad_request]
    return json.dumps({"code": 3, "message": f"{field}: {description}", "details": details})


def _with_own_body(headers: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Passes on bodies that name a field: those of the Lua filter, and the 400 of a route."""
    unchanged = {"text_format_source": {"inline_string": "%LOCAL_REPLY_BODY%"}, "content_type": "application/json"}
    for when in (_details(' == "lua_response"'), _all(_status(400), _details(' == "direct_response"'))):
        yield {"filter": when, "body_format_override": unchanged, "headers_to_add": _added(headers)}


def _mapper(reply: _LocalReply, headers: Mapping[str, str]) -> dict[str, Any]:
    mapper = {
        "filter": reply.when,
        "body_format_override": _error(reply.code, reply.reason, reply.message),
        "headers_to_add": _added({**headers, **reply.headers}),
    }
    return mapper | ({"status_code": reply.status} if reply.status else {})


def _added(headers: Mapping[str, str]) -> list[dict[str, Any]]:
    # Used only for requests that Envoy refuses before it assigns an id.
    with_id = {"x-request-id": "%UNIQUE_ID%", **headers}
    return [
        {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for key, value in with_id.items()
    ]


def _error(code: int, reason: str, message: str) -> dict[str, Any]:
    # json_format escapes what it substitutes, so a message cannot break out of its string.
    return {"json_format": {"code": code, "message": message, "details": [_error_info(reason)]}}


def _error_info(reason: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "adplatform",
        "metadata": {},
    }


def _status(status: int, comparison: str = "EQ") -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "adgateway.no_override"}
    return {"status_code_filter": {"comparison": {"op": comparison, "value": value}}}


def _path(path: dict[str, Any]) -> dict[str, Any]:
    return {"header_filter": {"header": {"name": ":path", "string_match": path}}}


def _details(expression: str) -> dict[str, Any]:
    return {
        "extension_filter": {
            "name": "cel",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter",
                "expression": f"response.code_details{expression}",
            },
        }
    }


def _all(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}}


_REFUSED_TOKEN = _details('.startsWith("jwt_authn_access_denied")')
_NO_TOKEN = {"header_filter": {"header": {"name": "authorization", "present_match": True, "invert_match": True}}}

# Envoy's default challenge repeats the URL.
_CHALLENGE = {"www-authenticate": "Bearer"}

_SOON = {"retry-after": "1"}

# The first match applies.
_LOCAL_REPLIES = (
    _LocalReply(_details(f' == "{_MISSING_KEYS}"'), 14, "UNAVAILABLE", _UNREACHABLE, status=503),
    _LocalReply(
        _all(_REFUSED_TOKEN, _NO_TOKEN),
        16,
        "TOKEN_MISSING",
        "send a token, Authorization: Bearer <access token>, or an API key, x-api-key: <key>",
        headers=_CHALLENGE,
    ),
    # Envoy's status for a wrong audience is 403.
    _LocalReply(
        _REFUSED_TOKEN,
        16,
        "TOKEN_INVALID",
        "the token is malformed, forged or expired; sign in again",
        status=401,
        headers=_CHALLENGE,
    ),
    # The transcoder's message names the field; the Lua filter rewrites it.
    _LocalReply(
        _all(_status(400), _details('.contains("grpc_json_transcode_failure")')),
        3,
        "INVALID_FIELD",
        "%LOCAL_REPLY_BODY%",
    ),
    _LocalReply(_status(400), 3, "INVALID_FIELD", "the request is malformed"),
    _LocalReply(_status(404), 5, "PATH_NOT_FOUND", "nothing answers at this path"),
    _LocalReply(_status(405), 12, "METHOD_NOT_ALLOWED", "this path does not take this method; see the allow header"),
    _LocalReply(_status(408), 4, "DEADLINE_EXCEEDED", "the request took too long to arrive"),
    _LocalReply(_status(413), 3, "REQUEST_TOO_LARGE", "the body is larger than 1 MiB"),
    _LocalReply(_status(429), 8, "RATE_LIMITED", "too many requests; slow down", headers=_SOON),
    _LocalReply(_status(431), 3, "REQUEST_TOO_LARGE", "the path and headers are larger than 32 KiB or more than 100"),
    _LocalReply(_all(_status(503), _path(HEALTH_PATH)), 14, "UNAVAILABLE", "a service is not ready"),
    _LocalReply(_status(502), 14, "UNAVAILABLE", _UNREACHABLE, status=503),
    _LocalReply(_status(503), 14, "UNAVAILABLE", _UNREACHABLE, headers=_SOON),
    _LocalReply(_status(504), 4, "DEADLINE_EXCEEDED", "the service did not answer in time; try again"),
    _LocalReply(_status(426), 3, "INVALID_FIELD", "HTTP/1.0 is not spoken here; use HTTP/1.1 or HTTP/2"),
    # Envoy's statuses for an Upgrade and for a Transfer-Encoding other than chunked.
    _LocalReply(_status(403), 3, "INVALID_FIELD", "the request is malformed", status=400),
    _LocalReply(_status(501), 3, "INVALID_FIELD", "the request is malformed", status=400),
)
