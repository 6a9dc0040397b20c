-- The rows of a view: its parts, each with one or more of its features, side by side.
SELECT $keys, moment, $features
FROM $parts
