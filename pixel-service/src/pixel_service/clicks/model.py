"""Redirects of clicks."""

from urllib.parse import quote

_PARAMETER = "click_id="
# All characters that RFC 3986 allows in a URI. Others, line breaks above all, are percent-encoded.
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"


def landing_url(target_url: str, click_id: str) -> str:
    """The campaign's URL with `click_id` in its query; its other parameters and its fragment are unchanged."""
    rest, hash_sign, fragment = target_url.partition("#")
    address, _, query = rest.partition("?")
    others = [part for part in query.split("&") if part and not part.startswith(_PARAMETER)]
    query = "&".join([*others, _PARAMETER + click_id])
    return quote(f"{address}?{query}{hash_sign}{fragment}", safe=_SAFE)
