-- At each hour the newest observation known by then, if it is at most 6 hours old, and the 3 hours that end with it.
-- A sum of decimals does not depend on the order of its terms.
WITH newest AS (
    SELECT e.origin, e.moment, MAX(w.observed_at) AS observed_at
    FROM $entities AS e
    LEFT JOIN weather AS w
        ON w.origin = e.origin AND w.known_at <= e.moment AND w.observed_at >= e.moment - INTERVAL 6 HOUR
    GROUP BY e.origin, e.moment
),
recent AS (
    SELECT
        n.origin, n.moment, SUM(CAST(w.precip AS DECIMAL(12, 4))) AS precip_3h, MIN(w.visib) AS visib_min_3h
    FROM newest AS n
    JOIN weather AS w
        ON w.origin = n.origin AND w.known_at <= n.moment
        AND w.observed_at <= n.observed_at AND w.observed_at > n.observed_at - INTERVAL 3 HOUR
    GROUP BY n.origin, n.moment
)
SELECT
    n.origin, n.moment,
    CAST(w.temp AS FLOAT) AS temp,
    CAST(w.humid AS FLOAT) AS humid,
    CAST(w.wind_speed AS FLOAT) AS wind,
    CAST(COALESCE(w.wind_gust, w.wind_speed) AS FLOAT) AS gust,
    CAST(r.precip_3h AS FLOAT) AS precip_3h,
    CAST(w.pressure AS FLOAT) AS pressure,
    CAST(w.pressure - b.pressure AS FLOAT) AS pressure_change_3h,
    CAST(w.visib AS FLOAT) AS visib,
    CAST(r.visib_min_3h AS FLOAT) AS visib_min_3h,
    CAST(w.temp - w.dewp AS FLOAT) AS dew_spread
FROM newest AS n
LEFT JOIN weather AS w ON w.origin = n.origin AND w.observed_at = n.observed_at
LEFT JOIN weather AS b
    ON b.origin = n.origin AND b.observed_at = n.observed_at - INTERVAL 3 HOUR AND b.known_at <= n.moment
LEFT JOIN recent AS r ON r.origin = n.origin AND r.moment = n.moment
