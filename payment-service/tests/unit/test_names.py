"""Organizations' names, and who issues receipts."""

from collections.abc import Mapping
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from adlib.config import ConfigurationError, Environment
from payment_service.clients.organizations import FakeOrganizations
from payment_service.config import issuer
from payment_service.receipts.names import Names


class Time:
    """Stands still until it is moved."""

    at_s = 0.0

    def __call__(self) -> float:
        return self.at_s


def test_name_is_asked_for_again_after_a_few_minutes() -> None:
    id, time = uuid4(), Time()
    organizations = FakeOrganizations({id: "Acme"})
    names = Names(organizations, now=time)
    assert [names.of(id), names.of(id)] == ["Acme", "Acme"]
    organizations.names[id] = "Acme Ltd"
    time.at_s = 170
    assert (names.of(id), organizations.asked) == ("Acme", 1)
    time.at_s = 190
    assert (names.of(id), organizations.asked) == ("Acme Ltd", 2)


def test_only_so_many_names_are_remembered() -> None:
    first, second, third = (uuid4() for _ in range(3))
    organizations = FakeOrganizations({first: "One", second: "Two", third: "Three"})
    names = Names(organizations, limit=2)
    for id in (first, second, third, third, second):
        names.of(id)
    assert organizations.asked == 3
    names.of(first)
    assert organizations.asked == 4


def test_without_auth_service_there_is_no_name_and_the_log_says_so() -> None:
    id, organizations = uuid4(), FakeOrganizations()
    organizations.is_down = True
    names = Names(organizations)
    with capture_logs() as logged:
        assert names.of(id) == ""
    assert [(line["event"], line["organization_id"]) for line in logged] == [("receipt_without_name", str(id))]
    organizations.is_down = False
    organizations.names[id] = "Acme"
    assert names.of(id) == "Acme", "that nobody answered is not remembered"


def test_organization_that_nobody_knows_has_no_name() -> None:
    assert Names(FakeOrganizations()).of(UUID(int=7)) == ""


@pytest.mark.parametrize(
    ("variables", "lines"),
    [
        ({}, ("The ad platform",)),
        ({"RECEIPT_ISSUER": " Acme Ltd | 1 Long Street||Tax 7 "}, ("Acme Ltd", "1 Long Street", "Tax 7")),
    ],
    ids=["not given", "given"],
)
def test_issuer_is_lines(variables: Mapping[str, str], lines: tuple[str, ...]) -> None:
    assert issuer(Environment(variables)) == lines


@pytest.mark.parametrize("text", ["|", "x" * 141, "|".join("x" * 11)], ids=["nothing", "long line", "many lines"])
def test_issuer_that_would_not_fit_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="RECEIPT_ISSUER"):
        issuer(Environment({"RECEIPT_ISSUER": text}))
