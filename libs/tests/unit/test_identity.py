"""Forged, expired and misused tokens are refused."""

from collections.abc import Mapping
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt import PyJWK

from adlib.errors import TokenInvalid, Unavailable
from adlib.identity import CachedKeys, Person, Service, Verifier, parse_jwks
from adtesting import Identities, eventually


def test_persons_token_is_verified() -> None:
    identities = Identities()
    person = identities.person()
    assert identities.verifier().verify(identities.token(person)) == person


def test_services_token_is_verified() -> None:
    identities = Identities()
    token = identities.service("campaign-service").token("test-service")
    assert identities.verifier().verify(token) == Service("campaign-service")


@pytest.mark.parametrize("fault", ["forged", "expired", "malformed"])
def test_invalid_token_is_refused(fault: str) -> None:
    identities = Identities()
    token = {
        "forged": identities.token(identities.person(), key=Ed25519PrivateKey.generate()),
        "expired": identities.token(identities.person(), expires_in_s=-1),
        "malformed": "a.b.c",
    }[fault]
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(token)


def test_services_key_cannot_sign_for_people_or_other_services() -> None:
    identities, others = Identities(), Identities()
    identities.service("campaign-service")
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(others.service("campaign-service").token("test-service"))


def test_cached_token_still_expires() -> None:
    identities = Identities()
    token = identities.token(identities.person(), expires_in_s=1)
    verifier = identities.verifier()
    verifier.verify(token)

    def is_refused() -> bool:
        try:
            verifier.verify(token)
        except TokenInvalid:
            return True
        return False

    assert eventually(is_refused, within_s=3.0)


def test_unknown_kid_fetches_the_keys() -> None:
    identities = Identities()
    served = ['{"keys": []}']
    keys = CachedKeys(lambda: parse_jwks(served[0]), min_interval_s=0.0)
    verifier = Verifier("test-service", user_keys=keys, service_keys=parse_jwks('{"keys": []}'))
    person = identities.person()
    with pytest.raises(TokenInvalid):
        verifier.verify(identities.token(person))
    served[0] = identities.user_jwks()
    assert verifier.verify(identities.token(person)) == person


def test_removed_key_ends_the_tokens_it_signed() -> None:
    identities = Identities()
    served = [identities.user_jwks()]
    keys = CachedKeys(lambda: parse_jwks(served[0]), min_interval_s=0.0, max_age_s=0.0)
    verifier = Verifier("test-service", user_keys=keys, service_keys={})
    token = identities.token(identities.person())
    verifier.verify(token)
    served[0] = '{"keys": []}'
    with pytest.raises(TokenInvalid):
        verifier.verify(token)


def test_failed_fetch_keeps_the_known_keys() -> None:
    identities = Identities()
    answers = [identities.user_jwks()]

    def fetch() -> Mapping[str, PyJWK]:
        if not answers:
            raise Unavailable("auth-service does not answer")
        return parse_jwks(answers.pop())

    verifier = Verifier("test-service", user_keys=CachedKeys(fetch, min_interval_s=0.0, max_age_s=0.0), service_keys={})
    token = identities.token(identities.person())
    assert verifier.verify(token) == verifier.verify(token)
    with pytest.raises(TokenInvalid):
        verifier.verify(Identities().token(identities.person()) + "x")


def test_service_token_is_refused_by_other_services() -> None:
    identities = Identities("payment-service")
    token = identities.service("campaign-service").token("pixel-service")
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(token)


def test_access_token_without_a_session_is_refused() -> None:
    identities = Identities()
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(identities.token(Person(uuid4())))
