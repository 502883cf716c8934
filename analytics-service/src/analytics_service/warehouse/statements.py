"""The warehouse's SQL, written once in BigQuery's dialect."""

EVENTS = """
CREATE TABLE IF NOT EXISTS events (
    event_id STRING NOT NULL,
    type STRING NOT NULL,
    time_micros INT64 NOT NULL,
    organization_id STRING NOT NULL,
    campaign_id STRING NOT NULL,
    pixel_id STRING NOT NULL,
    zone_id STRING NOT NULL,
    click_id STRING NOT NULL,
    goal STRING NOT NULL,
    transaction_id STRING NOT NULL,
    value_micros INT64 NOT NULL,
    currency_code STRING NOT NULL,
    visitor_id STRING NOT NULL,
    user_agent STRING NOT NULL,
    referrer STRING NOT NULL
)
"""

SPEND = """
CREATE TABLE IF NOT EXISTS spend (
    event_id STRING NOT NULL,
    time_micros INT64 NOT NULL,
    organization_id STRING NOT NULL,
    campaign_id STRING NOT NULL,
    network STRING NOT NULL,
    zone_id STRING NOT NULL,
    amount_micros INT64 NOT NULL,
    currency_code STRING NOT NULL
)
"""

# Ids are UUIDv7, so what a batch could repeat is at or above its oldest id; older rows need not be looked at.
ADD_EVENTS = """
INSERT INTO events
SELECT * FROM batch
WHERE NOT EXISTS (
    SELECT 1 FROM events AS kept WHERE kept.event_id >= @oldest AND kept.event_id = batch.event_id
)
"""

ADD_SPEND = """
INSERT INTO spend
SELECT * FROM batch
WHERE NOT EXISTS (
    SELECT 1 FROM spend AS kept WHERE kept.event_id >= @oldest AND kept.event_id = batch.event_id
)
"""

_SPANS = """
WITH spans AS (
    SELECT edge, LEAD(edge) OVER (ORDER BY edge) AS next_edge FROM UNNEST(@edges) AS edge
)
"""

EVENT_SUMS = (
    _SPANS
    + """
SELECT
    spans.edge AS edge,
    COUNTIF(events.type = 'IMPRESSION') AS impressions,
    COUNTIF(events.type = 'CLICK') AS clicks,
    COUNTIF(events.type = 'CONVERSION') AS conversions,
    COUNT(DISTINCT IF(events.visitor_id = '', NULL, events.visitor_id)) AS unique_users,
    SUM(IF(events.currency_code IN ('', @currency_code), events.value_micros, 0)) AS revenue_micros
FROM spans
JOIN events ON events.time_micros >= spans.edge AND events.time_micros < spans.next_edge
WHERE events.organization_id = @organization_id AND events.campaign_id = @campaign_id
GROUP BY spans.edge
"""
)

SPEND_SUMS = (
    _SPANS
    + """
SELECT spans.edge AS edge, SUM(spend.amount_micros) AS spend_micros
FROM spans
JOIN spend ON spend.time_micros >= spans.edge AND spend.time_micros < spans.next_edge
WHERE
    spend.organization_id = @organization_id
    AND spend.campaign_id = @campaign_id
    AND spend.currency_code = @currency_code
GROUP BY spans.edge
"""
)
