"""Pages are cut by id, and a page token is valid only for its own list."""

import base64
from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from adplatform.campaign.v1.campaign_pb2 import Campaign, ListCampaignsRequest
from hypothesis import given
from hypothesis import strategies as st

from adlib import paging
from adlib.rpc.call import Call, Caller

METHOD = "adplatform.campaign.v1.CampaignService.ListCampaigns"
ADA = Caller(uuid4(), organization_id=uuid4())


def page(request: ListCampaignsRequest, caller: Caller = ADA, method: str = METHOD) -> paging.Page:
    call = Call(method, {}, "")
    call.caller = caller
    return call.page(request)


def next_token(asked: paging.Page) -> str:
    """The token of the page after this one."""
    return paging.cut([uuid4()] * asked.limit, asked, lambda one: one).next_page_token


@given(st.sets(st.uuids(), max_size=40), st.integers(1, 7))
def test_pages_add_up_to_the_list(ids: set[UUID], size: int) -> None:
    newest_first = sorted(ids, reverse=True)
    seen: list[UUID] = []
    token = ""
    while True:
        asked = page(ListCampaignsRequest(page_size=size, page_token=token))
        rows = [one for one in newest_first if one < asked.before][: asked.limit]
        part = paging.cut(rows, asked, lambda one: one)
        seen += part.rows
        token = part.next_page_token
        if not token:
            break
    assert seen == newest_first


def test_page_size_is_50_by_default_and_at_most_200() -> None:
    assert [page(ListCampaignsRequest(page_size=size)).size for size in (0, 1, 200, 201)] == [50, 1, 200, 200]


def test_page_size_can_change_between_pages() -> None:
    token = next_token(page(ListCampaignsRequest(query="shoes", page_size=2)))
    again = page(ListCampaignsRequest(query="shoes", page_size=3, page_token=token))
    assert (again.size, next_token(again)[:8]) == (3, token[:8])


def test_paging_does_not_change_the_request() -> None:
    token = next_token(page(ListCampaignsRequest(page_size=2)))
    request = ListCampaignsRequest(page_size=2, page_token=token)
    page(request)
    assert request == ListCampaignsRequest(page_size=2, page_token=token)


@pytest.mark.parametrize(
    ("request_", "caller", "method"),
    [
        pytest.param(ListCampaignsRequest(query="hats"), ADA, METHOD, id="another filter"),
        pytest.param(ListCampaignsRequest(), ADA, METHOD, id="no filter"),
        pytest.param(
            ListCampaignsRequest(query="shoes", state=Campaign.ACTIVE), ADA, METHOD, id="one more filter"
        ),
        pytest.param(
            ListCampaignsRequest(query="shoes"), Caller(ADA.user_id, organization_id=uuid4()), METHOD,
            id="another organization",
        ),
        pytest.param(ListCampaignsRequest(query="shoes"), Caller(ADA.user_id), METHOD, id="no organization"),
        pytest.param(ListCampaignsRequest(query="shoes"), ADA, METHOD + "2", id="another method"),
    ],
)  # fmt: skip
def test_page_token_of_another_list_is_refused(request_: ListCampaignsRequest, caller: Caller, method: str) -> None:
    request_.page_token = next_token(page(ListCampaignsRequest(query="shoes")))
    with pytest.raises(paging.PageTokenInvalid):
        page(request_, caller, method)


def test_list_without_an_organization_belongs_to_the_person() -> None:
    token = next_token(page(ListCampaignsRequest(), Caller(ADA.user_id)))
    assert page(ListCampaignsRequest(page_token=token), Caller(ADA.user_id)).before
    with pytest.raises(paging.PageTokenInvalid):
        page(ListCampaignsRequest(page_token=token), Caller(uuid4()))


def test_page_token_works_for_other_members_of_the_organization() -> None:
    token = next_token(page(ListCampaignsRequest()))
    assert page(ListCampaignsRequest(page_token=token), Caller(uuid4(), organization_id=ADA.organization_id)).before


@pytest.mark.parametrize(
    "token", ["x", "not a token", "AAAA", "é", base64.urlsafe_b64encode(bytes(range(16))).rstrip(b"=").decode()]
)
def test_forged_page_token_is_refused(token: str) -> None:
    with pytest.raises(paging.PageTokenInvalid):
        page(ListCampaignsRequest(page_token=token))


@pytest.mark.parametrize(
    "change", [lambda t: t[:-1], lambda t: t[:-4], lambda t: t + "AAAA", lambda t: t[:12] + "!" + t[12:]]
)
def test_changed_page_token_is_refused(change: Callable[[str], str]) -> None:
    token = next_token(page(ListCampaignsRequest()))
    with pytest.raises(paging.PageTokenInvalid):
        page(ListCampaignsRequest(page_token=change(token)))
