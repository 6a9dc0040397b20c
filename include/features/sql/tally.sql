-- What became known between two snapshots, summed up by what a flight is: the only step that touches single rows.
-- $moment is the first snapshot at or after known_at; a snapshot at S may use every tally with moment <= S.
SELECT
    $moment AS moment, s.origin, s.dest, s.carrier, s.flight, s.local_hour,
    COUNT(*) AS n, SUM(CAST(f.$value AS BIGINT)) AS y
FROM $fact AS f
JOIN schedule AS s ON s.flight_id = f.flight_id
GROUP BY 1, 2, 3, 4, 5, 6
