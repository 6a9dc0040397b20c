-- The rows of a frame: flights scheduled in a span, when their prediction is made, and their label if it is known.
SELECT
    s.flight_id,
    s.sched_dep - INTERVAL $minutes MINUTE AS event_timestamp,
    s.sched_dep, s.local_date, s.carrier, s.flight, s.origin, s.dest, s.local_hour,
    o.not_on_time
FROM schedule AS s
LEFT JOIN outcome AS o ON o.flight_id = s.flight_id
WHERE s.sched_dep >= TIMESTAMP '$first' AND s.sched_dep <= TIMESTAMP '$last'
