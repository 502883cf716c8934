"""What the query of a tracking URL says."""

from urllib.parse import parse_qsl
from uuid import UUID

MAX_PARAMETERS = 64


def parameters(query: str) -> dict[str, str]:
    """The parameters of a query string, the first of each name; empty where there are absurdly many."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def zone_id(query: str) -> UUID | None:
    """The zone in `zone=`; what is no UUID is dropped."""
    if "zone=" not in query:
        return None
    try:
        return UUID(parameters(query).get("zone", ""))
    except ValueError:
        return None
