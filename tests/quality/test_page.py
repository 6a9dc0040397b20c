"""The page of a check: complete, self-contained, and safe whatever the data say."""

from __future__ import annotations

import re
from typing import Any

from tests.quality.test_suites import SUITES, expectations

START, END = "2013-03-05T05:00:00+00:00", "2013-03-06T05:00:00+00:00"


def test_the_page_tells_every_expectation_and_needs_no_network(checked: Any) -> None:
    def plant(delivery: Any) -> None:
        delivery["raw_movements"].loc[3, "tailnum"] = "<script>alert(1)</script>"

    page = checked(START, END, plant).page.read_text()
    for suite in set(SUITES) - {"training_frame"}:
        for expectation in expectations(suite):
            assert f"<b>{expectation['meta']['rule']}</b>" in page
    assert not re.search(r"(?:src|href)\s*=|url\(|@import|https?://", page)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert re.search(r"2013\d{4}-\w\w-\d+-[A-Z]{3} &lt;script&gt;", page)  # an example names its row
    assert "prefers-color-scheme: dark" in page
