"""Landing page URLs: the campaign's URL with the click id added and the rest unchanged."""

from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixel_service.clicks.model import landing_url

_words = st.text(st.characters(codec="utf-8", exclude_characters="#&=?\r\n"), max_size=8)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("https://a.example", "https://a.example?click_id=ID"),
        ("https://a.example/p?x=1&y=2", "https://a.example/p?x=1&y=2&click_id=ID"),
        ("https://a.example/p?x=a%20b+c#part?z=1", "https://a.example/p?x=a%20b+c&click_id=ID#part?z=1"),
        ("https://a.example/p?click_id=theirs&x=1", "https://a.example/p?x=1&click_id=ID"),
        ("https://a.example/p?#top", "https://a.example/p?click_id=ID#top"),
        ("https://a.example/ü", "https://a.example/%C3%BC?click_id=ID"),
        ("https://a.example/\r\nset-cookie: x", "https://a.example/%0D%0Aset-cookie:%20x?click_id=ID"),
    ],
)
def test_click_id_is_added_to_the_campaigns_url(target: str, expected: str) -> None:
    assert landing_url(target, "ID") == expected


@given(st.lists(st.tuples(_words.filter(lambda name: name not in ("", "click_id")), _words), max_size=4), _words)
def test_other_parameters_and_the_fragment_are_unchanged(pairs: list[tuple[str, str]], fragment: str) -> None:
    query = "&".join(f"{name}={value}" for name, value in pairs)
    target = f"https://shop.example/page?{query}#{fragment}"
    made = landing_url(target, "ID")
    assert made.isascii()
    assert made.isprintable()
    assert urlsplit(made).netloc == "shop.example"
    assert urlsplit(made).path == "/page"
    before = parse_qsl(query, keep_blank_values=True)
    assert parse_qsl(urlsplit(made).query, keep_blank_values=True) == [*before, ("click_id", "ID")]
