"""Alerts: one line each, told once a state, whoever raises them at the same moment and wherever one is killed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from include import alerts
from include.alerts import Alert
from include.settings import ROOT, Settings

TIME = "2013-03-25T12:00:00+00:00"
BAD = Alert(
    "feed/weather", "stale", "The weather is stale", "No row for 9 h.", "Mend the feed.", TIME, runbook="ingest"
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_a_state_is_told_once(settings: Settings) -> None:
    assert alerts.send(settings, BAD)
    assert not alerts.send(settings, replace(BAD, title="The weather is stale, still", cause="No row for 10 h."))
    assert alerts.send(settings, replace(BAD, state="gone"))
    assert alerts.send(settings, BAD)  # stale again: that is news
    assert alerts.send(settings, replace(BAD, group="feed/flights"))
    assert not alerts.send(settings, BAD)  # another group's line is none of this one's
    assert [alert["state"] for alert in alerts.sent(settings)] == ["stale", "gone", "stale", "stale"]


def test_over_is_told_once_and_then_it_may_begin_anew(settings: Settings) -> None:
    assert not alerts.resolve(settings, BAD.group, "fresh again", TIME)
    assert not settings.alerts.exists()
    alerts.send(settings, replace(BAD, severity="notice"))
    assert alerts.resolve(settings, BAD.group, "fresh again", TIME)
    assert not alerts.resolve(settings, BAD.group, "fresh again", TIME)
    assert alerts.unresolved(settings) == []
    assert alerts.send(settings, BAD)
    _, over, again = alerts.sent(settings)
    assert (over["severity"], over["runbook"]) == ("notice", "ingest")
    assert alerts.unresolved(settings) == [again]


@effort(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["1", "2", None]))))
def test_neighbours_in_a_group_always_differ(said: list[tuple[str, str | None]]) -> None:
    with TemporaryDirectory() as home:
        settings, last, told = Settings(home=Path(home)), {"a": alerts.RESOLVED, "b": alerts.RESOLVED}, 0
        for group, state in said:
            if state is None:
                new = alerts.resolve(settings, group, "over", TIME)
            else:
                new = alerts.send(settings, replace(BAD, group=group, state=state))
            assert new == (last[group] != (state or alerts.RESOLVED))
            last[group], told = state or alerts.RESOLVED, told + new
        lines = alerts.sent(settings)
        assert len(lines) == len({alert["id"] for alert in lines}) == told
        assert {a["group"]: a["state"] for a in lines} == {
            g: s for g, s in last.items() if (g, s) in {(a["group"], a["state"]) for a in lines}
        }


def test_a_torn_line_hides_no_other(settings: Settings) -> None:
    alerts.send(settings, BAD)
    whole = settings.alerts.read_bytes()
    for cut in range(len(whole)):
        settings.alerts.write_bytes(whole + whole[:cut])
        assert alerts.send(settings, replace(BAD, state="gone")), cut
        states = [alert["state"] for alert in alerts.sent(settings)]
        assert states in (["stale", "gone"], ["stale", "stale", "gone"]), cut  # the latter: only its end was torn off


def test_whether_a_group_was_ever_told_of(settings: Settings) -> None:
    assert not alerts.mentions(settings, [BAD.group])
    alerts.send(settings, replace(BAD, cause='feed/flights "feed/planes"', group='the "odd" über'))
    assert alerts.mentions(settings, ["none", 'the "odd" über'])
    assert not alerts.mentions(settings, ["feed/flights", "the"])


def test_foreign_lines_are_no_alerts(settings: Settings) -> None:
    settings.alerts.parent.mkdir()
    settings.alerts.write_bytes(b'[]\n7\n{"key": "old", "text": "old", "time": ""}\n\xff\xfe\n')
    assert alerts.sent(settings) == []
    assert alerts.send(settings, BAD)
    assert len(alerts.sent(settings)) == 1


_RAISE = """
import sys
from pathlib import Path
from include import alerts
from include.settings import Settings
settings = Settings(home=Path(sys.argv[1]))
said = 0
for i in range(20):
    said += alerts.send(settings, alerts.Alert("same", str(i), "t", "c" * 5000, "", "now"))
    said += alerts.send(settings, alerts.Alert(f"own/{sys.argv[2]}", str(i), "t", "", "", "now"))
print(said)
"""


def test_processes_at_the_same_moment_lose_nothing_and_tear_nothing(settings: Settings) -> None:
    command = [sys.executable, "-c", _RAISE, str(settings.home)]
    running = [
        subprocess.Popen([*command, str(i)], cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True)
        for i in range(4)
    ]
    said = [int(one.communicate()[0]) for one in running]
    lines = settings.alerts.read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert sum(said) == len(lines) == len({alert["id"] for alert in found})
    for group in ("same", *(f"own/{i}" for i in range(4))):
        states = [alert["state"] for alert in found if alert["group"] == group]
        assert all(one != other for one, other in pairwise(states)), group
        assert group == "same" or states == [str(i) for i in range(20)]


@pytest.mark.parametrize(
    ("field", "value"), [("group", " "), ("title", ""), ("severity", "loud"), ("state", "resolved")]
)
def test_what_cannot_be_told_is_refused(settings: Settings, field: str, value: str) -> None:
    with pytest.raises(ValueError, match=field):
        alerts.send(settings, replace(BAD, **{field: value}))  # type: ignore[arg-type]
    assert alerts.sent(settings) == []


def test_the_text_says_what_why_and_what_to_do(settings: Settings) -> None:
    alerts.send(settings, replace(BAD, link=alerts.link("ingest/manual__2013-03-25T12:00:00+00:00", "land", 3)))
    (alert,) = alerts.sent(settings)
    path = "/dags/ingest/runs/manual__2013-03-25T12%3A00%3A00%2B00%3A00/tasks/land/mapped/3"
    assert alerts.text(alert, "http://here:8080/").splitlines() == [
        "The weather is stale",
        "No row for 9 h.",
        "Mend the feed.",
        f"Look: http://here:8080{path}",
        "Runbook: docs/runbooks/ingest.md, or http://here:8080/dags/ingest, Docs",
    ]
    assert f"Look: {path}" in alerts.text(alert)
