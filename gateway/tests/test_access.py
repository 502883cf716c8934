"""Authentication and reachability of every RPC of the contract."""

import socket
import time
from urllib.parse import quote

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adgateway.contract import Binding, Method, Token

from .harness import CONTRACT, Gateway, Tokens, bearer, error_of, example_path

BINDINGS = [
    pytest.param(method, binding, id=f"{binding.verb} {binding.template}")
    for method in CONTRACT
    for binding in method.bindings
]
GUARDED = [case for case in BINDINGS if case.values[0].token is not Token.NONE]
PUBLIC = [case for case in BINDINGS if case.values[0].token is Token.NONE]
METHODS = [pytest.param(method, id=method.grpc_path) for method in CONTRACT]


def token_for(method: Method, tokens: Tokens) -> dict[str, str]:
    return bearer(tokens.service(method.service) if method.token is Token.SERVICE else tokens.access())


@pytest.mark.parametrize(("method", "binding"), GUARDED)
def test_missing_token_is_401_before_the_body_is_parsed(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    response = api.request(binding.verb, example_path(binding.template), content=b"{ no json")
    assert response.status_code == 401
    assert error_of(response) == (16, "TOKEN_MISSING")
    assert platform.calls == []


@pytest.mark.parametrize(("method", "binding"), GUARDED)
def test_token_of_the_other_kind_is_401(platform: Gateway, api: httpx.Client, method: Method, binding: Binding) -> None:
    tokens = platform.tokens
    wrong = bearer(tokens.access() if method.token is Token.SERVICE else tokens.service(method.service))
    response = api.request(binding.verb, example_path(binding.template), headers=wrong)
    assert (response.status_code, error_of(response)) == (401, (16, "TOKEN_INVALID"))
    assert platform.calls == []


@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_every_binding_reaches_its_rpc(platform: Gateway, api: httpx.Client, method: Method, binding: Binding) -> None:
    """Also if another path's template matches, and if a POST has no body."""
    response = api.request(binding.verb, example_path(binding.template), headers=token_for(method, platform.tokens))
    assert response.status_code == 200, response.text
    if method.name != "GetJwks":
        assert [call.path for call in platform.calls] == [method.grpc_path]
        assert platform.calls[0].service_port in {port for _, port in platform.settings.endpoints[method.service]}


@pytest.mark.parametrize(("method", "binding"), GUARDED)
def test_api_key_replaces_an_access_token_only(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    """The gateway does not verify keys: the called service does, with auth-service."""
    response = api.request(binding.verb, example_path(binding.template), headers={"x-api-key": "adk_test"})
    if method.token is Token.ACCESS:
        assert [call.metadata["x-api-key"] for call in platform.calls] == ["adk_test"]
    else:
        assert (response.status_code, platform.calls) == (401, [])


@pytest.mark.parametrize(("method", "binding"), PUBLIC)
def test_expired_token_is_ignored_by_public_rpcs(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    stale = bearer(platform.tokens.access(exp=int(time.time()) - 3600))
    assert api.request(binding.verb, example_path(binding.template), headers=stale).status_code == 200


@pytest.mark.parametrize("method", METHODS)
def test_no_rpc_is_reachable_by_its_grpc_path(platform: Gateway, api: httpx.Client, method: Method) -> None:
    for content_type in ("application/grpc", "application/grpc+json", "application/json"):
        headers = token_for(method, platform.tokens) | {"content-type": content_type}
        response = api.post(method.grpc_path, headers=headers, content=b"\0\0\0\0\0")
        assert (response.status_code, error_of(response)) == (404, (5, "PATH_NOT_FOUND"))
    assert platform.calls == []


def test_native_grpc_call_is_unimplemented(platform: Gateway, api: httpx.Client) -> None:
    with grpc.insecure_channel(platform.url.removeprefix("http://")) as channel:
        for path in ("/adplatform.auth.v1.AuthService/GetProfile", "/grpc.health.v1.Health/Check", "/auth/login"):
            with pytest.raises(grpc.RpcError) as refused:
                channel.unary_unary(path)(b"", metadata=list(platform.signed_in.items()), timeout=5)
            assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert platform.calls == []


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "//adplatform.auth.v1.AccessService/GetAccess",
        "/x/../adplatform.auth.v1.AccessService/GetAccess",
        "/adplatform.auth.v1.AccessService%2FGetAccess",
        "/adplatform.auth.v1.AccessService/GetAccess?x=/auth/login",
        "/track/../adplatform.auth.v1.AccessService/GetAccess",
        "/track/..%2fjobs/sync-stats",
    ],
)
def test_disguised_path_reaches_no_service(platform: Gateway, path: str) -> None:
    """Sent over a socket, because HTTP clients normalize paths."""
    platform.reset()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\nconnection: close\r\n"
    head += f"authorization: {platform.signed_in['authorization']}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", platform.settings.listen_port), 5) as connection:
        connection.sendall(head.encode())
        status = connection.makefile("rb").readline()
    assert status.split()[1] in (b"400", b"401", b"404")
    assert platform.calls == []


@pytest.mark.parametrize(
    "headers",
    [
        {"x-http-method-override": "DELETE"},
        {"x-http-method": "DELETE"},
        {"x-method-override": "DELETE"},
        {"x-original-url": "/adplatform.auth.v1.AccessService/GetAccess"},
        {"x-rewrite-url": "/adplatform.auth.v1.AccessService/GetAccess"},
        {"x-envoy-original-path": "/adplatform.auth.v1.AccessService/GetAccess"},
    ],
    ids=lambda headers: next(iter(headers)),
)
def test_header_cannot_override_method_or_path(platform: Gateway, api: httpx.Client, headers: dict[str, str]) -> None:
    assert api.get("/pixels/x1", headers=platform.signed_in | headers).status_code == 200
    assert [call.path for call in platform.calls] == ["/adplatform.pixel.v1.PixelService/GetPixel"]
    assert platform.calls[0].metadata["x-envoy-original-path"] == "/pixels/x1"


def bad_tokens(tokens: Tokens) -> dict[str, str]:
    now = int(time.time())
    unsigned = {"iss": "adplatform-auth", "aud": "adplatform", "sub": "someone", "exp": now + 60}
    header, claims, signature = tokens.access().split(".")
    return {
        "not a token": "Bearer nonsense",
        "empty": "Bearer",
        "another scheme": "Basic dXNlcjpwYXNz",
        "expired": f"Bearer {tokens.access(exp=now - 3)}",
        "not yet valid": f"Bearer {tokens.access(nbf=now + 60)}",
        "without an expiry": f"Bearer {tokens.access(exp=None)}",
        "wrong audience": f"Bearer {tokens.access(aud='another')}",
        "wrong issuer": f"Bearer {tokens.access(iss='another')}",
        "signed with another key": f"Bearer {tokens.access(key=Ed25519PrivateKey.generate())}",
        "truncated signature": f"Bearer {header}.{claims}.{signature[:-4]}",
        "claims of another token": f"Bearer {header}.{tokens.access(sub='admin').split('.')[1]}.{signature}",
        "unsigned": f"Bearer {jwt.encode(unsigned, None, 'none')}",
    }


@pytest.mark.parametrize("kind", bad_tokens(Tokens()))
def test_invalid_token_is_401(platform: Gateway, api: httpx.Client, kind: str) -> None:
    response = api.get("/auth/profile", headers={"authorization": bad_tokens(platform.tokens)[kind]})
    assert (response.status_code, error_of(response)) == (401, (16, "TOKEN_INVALID"))
    assert response.headers["www-authenticate"] == "Bearer"
    assert platform.calls == []


def test_authorization_scheme_is_case_insensitive(platform: Gateway, api: httpx.Client) -> None:
    headers = {"authorization": f"bearer {platform.tokens.access()}"}
    assert api.get("/auth/profile", headers=headers).status_code == 200


def test_token_in_the_query_is_ignored(platform: Gateway, api: httpx.Client) -> None:
    response = api.get(f"/auth/profile?access_token={quote(platform.tokens.access())}")
    assert (response.status_code, error_of(response)) == (401, (16, "TOKEN_MISSING"))


def test_credentials_and_context_headers_reach_the_service(platform: Gateway, api: httpx.Client) -> None:
    headers = platform.signed_in | {"organization-id": "an organization", "idempotency-key": "a key"}
    api.get("/billing/balance", headers=headers)
    assert {name: platform.calls[0].metadata[name] for name in headers} == headers
