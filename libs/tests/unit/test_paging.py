"""Pages are cut by id, and a token that no list made is refused."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adlib import paging


@given(st.sets(st.uuids(), max_size=40), st.integers(1, 7))
def test_pages_together_are_the_list(ids: set[UUID], size: int) -> None:
    newest_first = sorted(ids, reverse=True)
    seen: list[UUID] = []
    token = ""
    while True:
        page = paging.page(size, token)
        rows = [one for one in newest_first if one < page.before][: page.limit]
        part = paging.cut(rows, page, lambda one: one)
        seen += part.rows
        token = part.next_page_token
        if not token:
            break
    assert seen == newest_first


@pytest.mark.parametrize("token", ["x", "not a token", "AAAA", "é"])
def test_a_foreign_token_is_refused(token: str) -> None:
    with pytest.raises(paging.PageTokenInvalid):
        paging.page(10, token)
