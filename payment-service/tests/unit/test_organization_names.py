"""The cache of organizations' names, and the issuer of receipts."""

from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from adlib.config import ConfigurationError, Environment
from adtesting.payment import FakeOrganizations
from payment_service.clients.organizations import OrganizationNames
from payment_service.config import issuer


class Time:
    """A clock that only the test advances."""

    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_cached_name_expires_after_three_minutes() -> None:
    id, time = uuid4(), Time()
    organizations = FakeOrganizations({id: "Acme"})
    names = OrganizationNames(organizations, monotonic_s=time)
    assert [names.get(id), names.get(id)] == ["Acme", "Acme"]
    organizations.names[id] = "Acme Ltd"
    time.at_s = 170
    assert (names.get(id), organizations.calls) == ("Acme", 1)
    time.at_s = 190
    assert (names.get(id), organizations.calls) == ("Acme Ltd", 2)


def test_name_cache_evicts_the_least_recent_entry() -> None:
    first, second, third = (uuid4() for _ in range(3))
    organizations = FakeOrganizations({first: "One", second: "Two", third: "Three"})
    names = OrganizationNames(organizations, max_cached=2)
    for id in (first, second, third, third, second):
        names.get(id)
    assert organizations.calls == 3
    names.get(first)
    assert organizations.calls == 4


def test_outage_of_auth_service_yields_an_empty_name_and_is_logged() -> None:
    id, organizations = uuid4(), FakeOrganizations()
    organizations.is_down = True
    names = OrganizationNames(organizations)
    with capture_logs() as logged:
        assert names.get(id) == ""
    assert [(line["event"], line["organization_id"]) for line in logged] == [("receipt_without_name", str(id))]
    organizations.is_down = False
    organizations.names[id] = "Acme"
    assert names.get(id) == "Acme", "the failure is not cached"


def test_unknown_organization_has_an_empty_name() -> None:
    assert OrganizationNames(FakeOrganizations()).get(UUID(int=7)) == ""


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ({}, ("The ad platform",)),
        ({"RECEIPT_ISSUER": " Acme Ltd | 1 Long Street||Tax 7 "}, ("Acme Ltd", "1 Long Street", "Tax 7")),
    ],
    ids=["default", "set"],
)
def test_issuer_is_split_into_lines(variables: Mapping[str, str], lines: tuple[str, ...]) -> None:
    assert issuer(Environment(variables)) == lines


@pytest.mark.parametrize("text", ["|", "x" * 141, "|".join("x" * 11)], ids=["empty", "long line", "many lines"])
def test_issuer_beyond_the_limits_is_rejected(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RECEIPT_ISSUER"):
        issuer(Environment({"RECEIPT_ISSUER": text}))
