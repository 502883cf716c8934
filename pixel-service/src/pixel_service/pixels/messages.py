"""Pixels as protobuf messages, with the snippets that advertisers and partners use."""

import json

from adplatform.pixel.v1 import pixel_pb2 as pb

from pixel_service.pixels.model import Pixel
from pixel_service.postback_keys import PostbackKeys
from pixel_service.tracking_urls import CLICK_PATH, CONVERSION_PATH, PIXEL_PATH, POSTBACK_PATH

_CONVERSION_SNIPPET = """\
<script>
fetch({url}, {{method: "POST", keepalive: true, body: JSON.stringify({{
  pixelId: {pixel},
  goal: {goal},
  clickId: new URLSearchParams(location.search).get("click_id") || undefined
}})}});
</script>"""


class PixelMessages:
    """Renders pixels; the snippets' URLs start with the platform's public URL."""

    def __init__(self, public_url: str, keys: PostbackKeys) -> None:
        self._public_url = public_url
        self._keys = keys

    def to_pb(self, pixel: Pixel) -> pb.Pixel:
        """The pixel's message."""
        message = pb.Pixel(
            id=str(pixel.id),
            organization_id=str(pixel.organization_id),
            campaign_id=str(pixel.campaign_id),
            name=pixel.name,
            goals=pixel.goals,
            snippets=self._snippets(pixel),
        )
        message.create_time.FromDatetime(pixel.created_at)
        return message

    def _snippets(self, pixel: Pixel) -> pb.Pixel.Snippets:
        """The HTML and URLs to embed. Partners replace {click_id}, {payout} and {txid} in the postback URL."""
        url, goal = self._public_url, pixel.goals[0]
        return pb.Pixel.Snippets(
            impression=f'<img src="{url}{PIXEL_PATH}{pixel.id}" width="1" height="1" alt="">',
            click_url=f"{url}{CLICK_PATH}{pixel.id}",
            # Without a content type the request needs no preflight.
            conversion=_CONVERSION_SNIPPET.format(
                url=json.dumps(url + CONVERSION_PATH), pixel=json.dumps(str(pixel.id)), goal=json.dumps(goal)
            ),
            postback_url=f"{url}{POSTBACK_PATH}?click_id={{click_id}}&goal={goal}&payout={{payout}}&txid={{txid}}"
            f"&key={self._keys.of(pixel.id)}",
        )
