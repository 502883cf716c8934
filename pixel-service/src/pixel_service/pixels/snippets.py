"""What is pasted into pages and given to partners."""

import json
from dataclasses import dataclass

from pixel_service.pixels.model import Pixel
from pixel_service.signing.postback_keys import PostbackKeys

_CONVERSION = """\
<script>
fetch({url}, {{method: "POST", keepalive: true, body: JSON.stringify({{
  pixelId: {pixel},
  goal: {goal},
  clickId: new URLSearchParams(location.search).get("click_id") || undefined
}})}});
</script>"""


@dataclass(frozen=True, slots=True)
class Snippets:
    """One pixel's ways in."""

    impression: str
    click_url: str
    conversion: str
    postback_url: str


class Links:
    """Writes snippets that lead to the platform's public URL."""

    def __init__(self, public_url: str, keys: PostbackKeys) -> None:
        self._track = f"{public_url}/track"
        self._keys = keys

    def of(self, pixel: Pixel) -> Snippets:
        """The pixel's snippets; {click_id}, {payout} and {txid} are for the partner's system to fill."""
        goal = pixel.goals[0]
        return Snippets(
            impression=f'<img src="{self._track}/pixel/{pixel.id}" width="1" height="1" alt="">',
            click_url=f"{self._track}/click/{pixel.id}",
            # Without a content type of its own the request needs no preflight.
            conversion=_CONVERSION.format(
                url=json.dumps(f"{self._track}/conversion"), pixel=json.dumps(str(pixel.id)), goal=json.dumps(goal)
            ),
            postback_url=f"{self._track}/s2s?click_id={{click_id}}&goal={goal}&payout={{payout}}&txid={{txid}}"
            f"&key={self._keys.of(pixel.id)}",
        )
