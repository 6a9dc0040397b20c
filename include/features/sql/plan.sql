-- What is known of a flight when its day's schedule is published. Flights shortly before midnight get a second row
-- when the next day is published, for only then are all of their neighbours known.
WITH placed AS (
    SELECT
        flight_id, origin, sched_dep, known_at,
        DATE_TRUNC('hour', sched_dep) AS hour
    FROM schedule
),
neighbours AS (
    SELECT
        f.flight_id,
        CASE WHEN g.known_at > f.known_at THEN g.known_at ELSE f.known_at END AS moment,
        COUNT(*) AS n
    FROM placed AS f
    CROSS JOIN (VALUES (-1), (0), (1)) AS o(hours)
    JOIN placed AS g
        ON g.origin = f.origin AND g.hour = f.hour + o.hours * INTERVAL 1 HOUR
        AND g.sched_dep >= f.sched_dep - INTERVAL 30 MINUTE AND g.sched_dep <= f.sched_dep + INTERVAL 30 MINUTE
    GROUP BY 1, 2
),
counted AS (
    SELECT
        flight_id, moment,
        SUM(n) OVER (PARTITION BY flight_id ORDER BY moment ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS departures
    FROM neighbours
)
SELECT
    s.flight_id, c.moment,
    CAST(s.minute_of_day AS FLOAT) AS minute_of_day,
    CAST(s.weekday AS FLOAT) AS weekday,
    CAST(s.distance AS FLOAT) AS distance,
    CAST(DATEDIFF('minute', s.sched_dep, s.sched_arr) AS FLOAT) AS block_minutes,
    CAST(DATEDIFF('minute', s.sched_dep, s.sched_arr) - s.distance / 8 AS FLOAT) AS slack_minutes,
    CAST(COALESCE(k.code, -1) AS FLOAT) AS carrier_code,
    CAST(COALESCE(p.code, -1) AS FLOAT) AS origin_code,
    CAST(c.departures AS FLOAT) AS departures_30m
FROM schedule AS s
JOIN counted AS c ON c.flight_id = s.flight_id
LEFT JOIN carriers AS k ON k.name = s.carrier
LEFT JOIN origins AS p ON p.name = s.origin
WHERE c.moment >= TIMESTAMP '$first' AND c.moment <= TIMESTAMP '$last'
