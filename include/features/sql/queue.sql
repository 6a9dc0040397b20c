-- Flights scheduled in the last 4 hours that had not departed at the hour, and their share. A cancelled flight waits
-- until it leaves the window: that it is cancelled is not known.
WITH waiting AS (
    SELECT
        DATE_TRUNC('hour', s.sched_dep - INTERVAL 1 MICROSECOND) + INTERVAL 1 HOUR + o.hours * INTERVAL 1 HOUR AS moment,
        s.origin, s.known_at, d.known_at AS departed_at
    FROM schedule AS s
    CROSS JOIN (VALUES (0), (1), (2), (3)) AS o(hours)
    LEFT JOIN departure AS d ON d.flight_id = s.flight_id
),
counted AS (
    SELECT
        moment, origin, COUNT(*) AS scheduled,
        SUM(CASE WHEN departed_at IS NULL OR departed_at > moment THEN 1 ELSE 0 END) AS queued
    FROM waiting
    WHERE known_at <= moment
    GROUP BY moment, origin
)
SELECT
    e.origin, e.moment,
    CAST(COALESCE(c.queued, 0) AS FLOAT) AS origin_queue,
    CAST(CAST(c.queued AS DOUBLE) / c.scheduled AS FLOAT) AS origin_queue_share
FROM $entities AS e
LEFT JOIN counted AS c ON c.origin = e.origin AND c.moment = e.moment
