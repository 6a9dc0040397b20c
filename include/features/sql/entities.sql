-- Who has a row in each snapshot: what the published schedule names for the days around it, so that an entity of
-- which nothing has been seen gets its prior (or NULL) instead of no row.
WITH published AS (
    SELECT $keys, DATE_TRUNC('day', sched_dep) AS day, MIN(known_at) AS known_at
    FROM schedule
    GROUP BY $keys, DATE_TRUNC('day', sched_dep)
)
SELECT DISTINCT $keys, i.moment
FROM published AS p
JOIN instants AS i
    ON p.known_at <= i.moment AND p.day > i.moment - INTERVAL 2 DAY AND p.day < i.moment + INTERVAL 3 DAY
