"""Who gets through: for every RPC of the contract, whatever it is."""

import socket
import time
from urllib.parse import quote

import grpc
import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adgateway.contract import Binding, Method, Token

from .running import CONTRACT, Gateway, Tokens, bearer, error_of, filled

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
def test_without_a_token_is_401_whatever_the_body(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    answer = api.request(binding.verb, filled(binding.template), content=b"{ no json")
    assert answer.status_code == 401
    assert error_of(answer) == (16, "TOKEN_MISSING")
    assert platform.calls == []


@pytest.mark.parametrize(("method", "binding"), GUARDED)
def test_the_other_kind_of_token_is_401(platform: Gateway, api: httpx.Client, method: Method, binding: Binding) -> None:
    tokens = platform.tokens
    wrong = bearer(tokens.access() if method.token is Token.SERVICE else tokens.service(method.service))
    answer = api.request(binding.verb, filled(binding.template), headers=wrong)
    assert (answer.status_code, error_of(answer)) == (401, (16, "TOKEN_INVALID"))
    assert platform.calls == []


@pytest.mark.parametrize(("method", "binding"), BINDINGS)
def test_every_binding_reaches_its_rpc(platform: Gateway, api: httpx.Client, method: Method, binding: Binding) -> None:
    """Also where one path's template covers another path, and where a POST has no body at all."""
    answer = api.request(binding.verb, filled(binding.template), headers=token_for(method, platform.tokens))
    assert answer.status_code == 200, answer.text
    if method.name != "GetJwks":
        assert [call.path for call in platform.calls] == [method.grpc_path]
        assert platform.calls[0].service_port in {port for _, port in platform.settings.endpoints[method.service]}


@pytest.mark.parametrize(("method", "binding"), GUARDED)
def test_an_api_key_stands_in_for_a_persons_token_only(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    """The gateway does not know keys: the service that is called asks auth-service."""
    answer = api.request(binding.verb, filled(binding.template), headers={"x-api-key": "adk_test"})
    if method.token is Token.ACCESS:
        assert [call.metadata["x-api-key"] for call in platform.calls] == ["adk_test"]
    else:
        assert (answer.status_code, platform.calls) == (401, [])


@pytest.mark.parametrize(("method", "binding"), PUBLIC)
def test_a_stale_token_does_not_keep_from_what_is_public(
    platform: Gateway, api: httpx.Client, method: Method, binding: Binding
) -> None:
    stale = bearer(platform.tokens.access(exp=int(time.time()) - 3600))
    assert api.request(binding.verb, filled(binding.template), headers=stale).status_code == 200


@pytest.mark.parametrize("method", METHODS)
def test_no_rpc_is_reachable_by_its_grpc_path(platform: Gateway, api: httpx.Client, method: Method) -> None:
    for content_type in ("application/grpc", "application/grpc+json", "application/json"):
        headers = token_for(method, platform.tokens) | {"content-type": content_type}
        answer = api.post(method.grpc_path, headers=headers, content=b"\0\0\0\0\0")
        assert (answer.status_code, error_of(answer)) == (404, (5, "PATH_NOT_FOUND"))
    assert platform.calls == []


def test_a_grpc_client_gets_nowhere(platform: Gateway, api: httpx.Client) -> None:
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
def test_a_path_in_disguise_gets_nowhere(platform: Gateway, path: str) -> None:
    """Sent byte for byte, because clients tidy paths up."""
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
def test_a_header_does_not_turn_a_request_into_another(
    platform: Gateway, api: httpx.Client, headers: dict[str, str]
) -> None:
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
        "without an end": f"Bearer {tokens.access(exp=None)}",
        "for somebody else": f"Bearer {tokens.access(aud='another')}",
        "by somebody else": f"Bearer {tokens.access(iss='another')}",
        "signed with another key": f"Bearer {tokens.access(key=Ed25519PrivateKey.generate())}",
        "signature cut": f"Bearer {header}.{claims}.{signature[:-4]}",
        "claims swapped": f"Bearer {header}.{tokens.access(sub='admin').split('.')[1]}.{signature}",
        "unsigned": f"Bearer {jwt.encode(unsigned, None, 'none')}",
    }


@pytest.mark.parametrize("kind", bad_tokens(Tokens()))
def test_a_bad_token_is_401(platform: Gateway, api: httpx.Client, kind: str) -> None:
    answer = api.get("/auth/profile", headers={"authorization": bad_tokens(platform.tokens)[kind]})
    assert (answer.status_code, error_of(answer)) == (401, (16, "TOKEN_INVALID"))
    assert answer.headers["www-authenticate"] == "Bearer"
    assert platform.calls == []


def test_the_schemes_case_does_not_matter(platform: Gateway, api: httpx.Client) -> None:
    headers = {"authorization": f"bearer {platform.tokens.access()}"}
    assert api.get("/auth/profile", headers=headers).status_code == 200


def test_a_token_in_the_query_is_none(platform: Gateway, api: httpx.Client) -> None:
    answer = api.get(f"/auth/profile?access_token={quote(platform.tokens.access())}")
    assert (answer.status_code, error_of(answer)) == (401, (16, "TOKEN_MISSING"))


def test_the_token_reaches_the_service(platform: Gateway, api: httpx.Client) -> None:
    headers = platform.signed_in | {"organization-id": "an organization", "idempotency-key": "a key"}
    api.get("/billing/balance", headers=headers)
    assert {name: platform.calls[0].metadata[name] for name in headers} == headers
