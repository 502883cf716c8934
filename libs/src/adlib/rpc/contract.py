"""The contract's auth option of a method, read from its descriptor."""

from dataclasses import dataclass

from adplatform.options.v1 import options_pb2
from google.protobuf.descriptor import MethodDescriptor

from adlib import permissions


class ContractError(Exception):
    """The contract or the server is incomplete; the server does not start."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Admits exactly one kind of caller to a method; `verified_email` also requires a verified e-mail."""

    public: bool = False
    signed_in: bool = False
    authenticated: bool = False
    required_all: int = 0
    required_any: int = 0
    services: frozenset[str] = frozenset()
    verified_email: bool = False

    @property
    def needs_organization(self) -> bool:
        """Whether the caller acts for an organization."""
        return bool(self.required_all or self.required_any)


def rule(method: MethodDescriptor) -> Rule:
    """The rule in the method's auth option; ContractError if it is missing or contradictory."""
    auth = method.GetOptions().Extensions[options_pb2.auth]
    kinds = [
        auth.public, auth.signed_in, auth.authenticated, bool(auth.all), bool(auth.any), bool(auth.services)
    ]  # fmt: skip
    if sum(kinds) != 1:
        raise ContractError(
            f"{method.full_name} needs the option adplatform.options.v1.auth with exactly one of "
            "public, signed_in, authenticated, all, any, services"
        )
    if unknown := [code for code in (*auth.all, *auth.any) if not permissions.mask([code])]:
        raise ContractError(f"{method.full_name} requires permissions that this release does not know: {unknown}")
    if auth.verified_email and not (auth.all or auth.any):
        raise ContractError(f"{method.full_name}: verified_email goes with all or any")
    return Rule(
        public=auth.public,
        signed_in=auth.signed_in,
        authenticated=auth.authenticated,
        required_all=permissions.mask(auth.all),
        required_any=permissions.mask(auth.any),
        services=frozenset(auth.services),
        verified_email=auth.verified_email,
    )
