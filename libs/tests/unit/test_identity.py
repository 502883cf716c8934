"""Forged, expired and misused tokens are refused."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from adlib.errors import TokenInvalid
from adlib.identity import RefreshedKeys, Service, Verifier, parse_jwks
from adlib.testing import Identities, eventually


def test_a_persons_token_names_them() -> None:
    identities = Identities()
    person = identities.person()
    assert identities.verifier().verify(identities.token(person)) == person


def test_a_services_token_names_it() -> None:
    identities = Identities()
    token = identities.service("campaign-service").token()
    assert identities.verifier().verify(token) == Service("campaign-service")


@pytest.mark.parametrize("fault", ["forged", "expired", "malformed"])
def test_a_bad_token_is_refused(fault: str) -> None:
    identities = Identities()
    token = {
        "forged": identities.token(identities.person(), key=Ed25519PrivateKey.generate()),
        "expired": identities.token(identities.person(), expires_in_s=-1),
        "malformed": "a.b.c",
    }[fault]
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(token)


def test_a_service_cannot_speak_for_a_person_or_for_another_service() -> None:
    identities, others = Identities(), Identities()
    identities.service("campaign-service")
    with pytest.raises(TokenInvalid):
        identities.verifier().verify(others.service("campaign-service").token())


def test_a_remembered_token_still_expires() -> None:
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


def test_a_new_key_is_fetched_when_a_token_names_it() -> None:
    identities = Identities()
    served = ['{"keys": []}']
    keys = RefreshedKeys(lambda: served[0], min_interval_s=0.0)
    verifier = Verifier(user_keys=keys, service_keys=parse_jwks('{"keys": []}'))
    person = identities.person()
    with pytest.raises(TokenInvalid):
        verifier.verify(identities.token(person))
    served[0] = identities.user_jwks()
    assert verifier.verify(identities.token(person)) == person
