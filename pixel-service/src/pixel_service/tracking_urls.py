"""Paths of the tracking URLs. A path with a slash at its end is followed by a pixel's id."""

from typing import Final

PIXEL_PATH: Final = "/track/pixel/"
CLICK_PATH: Final = "/track/click/"
CONVERSION_PATH: Final = "/track/conversion"
POSTBACK_PATH: Final = "/track/s2s"
HEALTH_PATH: Final = "/track/health"
