-- Mean of what became known in (moment - $hours h, moment], drawn towards $prior by the weight of $weight observations.
-- With weight 0 it is the plain mean, and NULL when nothing happened.
WITH grouped AS (
    SELECT $group_by, SUM(n) AS n, SUM(y) AS y
    FROM $tally
    GROUP BY $group_by
)
SELECT
    $entity_keys, e.moment,
    CAST(
        (COALESCE(CAST(SUM(g.y) AS DOUBLE), 0) + CAST($prior AS DOUBLE) * $weight)
        / NULLIF(COALESCE(CAST(SUM(g.n) AS DOUBLE), 0) + $weight, 0)
    AS FLOAT) AS $feature
FROM $entities AS e
LEFT JOIN grouped AS g ON $same_keys AND g.moment <= e.moment AND g.moment > e.moment - INTERVAL $hours HOUR
GROUP BY $entity_keys, e.moment
