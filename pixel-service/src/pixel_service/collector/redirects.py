"""Where a click leads."""

from urllib.parse import quote

_PARAMETER = "click_id="
# Everything that RFC 3986 lets stand in a URI; the rest, line ends above all, is encoded.
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"


def location(target_url: str, click_id: str) -> str:
    """The campaign's own URL with the click id in its query; its other parameters and its fragment stay as they are."""
    rest, hash_sign, fragment = target_url.partition("#")
    address, _, query = rest.partition("?")
    kept = [part for part in query.split("&") if part and not part.startswith(_PARAMETER)]
    query = "&".join([*kept, _PARAMETER + click_id])
    return quote(f"{address}?{query}{hash_sign}{fragment}", safe=_SAFE)
