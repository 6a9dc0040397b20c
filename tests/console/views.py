"""Values of the console's pages, taken from a real installation after `make demo`: for tests of how they are shown."""

# ruff: noqa: E501 (sentences and numbers as they are)

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sin

from include.console.render import Site
from include.console.view import (
    Alert,
    Check,
    Day,
    Decision,
    Drift,
    Duel,
    Evidence,
    Frozen,
    Gap,
    Health,
    Index,
    Link,
    Live,
    ModelPage,
    Number,
    Powers,
    Progress,
    Question,
    Row,
    RunPage,
    Step,
    Tone,
    Traffic,
    VersionPage,
    VersionRow,
)

WALL = datetime(2026, 11, 21, 17, 40, tzinfo=UTC)
NOW = "2013-04-30T00:08:30+00:00"
NAME = "flights_on_time"
ALL = Powers("ada", True, True, True, True)
NONE = Powers("viewer")
TRAIN = "asset_triggered__2026-11-21T17:30:06.842588+00:00_Lrz4oAs5"
RELEASE = "asset_triggered__2026-11-21T17:36:27.311129+00:00_AJw2OAZ2"

# day, version, flights, coverage, log loss, base rate, mean prediction, expected log loss
_DAYS = (
    ("2013-04-10", 1, 981, 1.0, 0.5512, 0.2538, 0.2017, 0.4471),
    ("2013-04-11", 1, 975, 1.0, 0.5961, 0.3120, 0.2244, 0.4688),
    ("2013-04-12", 1, 984, 1.0, 0.7401, 0.4512, 0.2871, 0.5310),
    ("2013-04-13", 1, 757, 1.0, 0.3920, 0.1260, 0.1411, 0.3701),
    ("2013-04-14", 1, 903, 1.0, 0.4144, 0.1447, 0.1502, 0.3822),
    ("2013-04-15", 1, 988, 1.0, 0.5733, 0.2773, 0.2090, 0.4602),
    ("2013-04-16", 1, 986, 1.0, 0.6604, 0.3204, 0.1904, 0.4415),
    ("2013-04-17", 1, 988, 1.0, 0.6853, 0.2783, 0.1104, 0.3353),
    ("2013-04-18", 1, 992, 1.0, 0.8776, 0.5111, 0.2394, 0.4665),
    ("2013-04-19", 1, 988, 1.0, 0.6777, 0.5668, 0.3505, 0.5705),
    ("2013-04-20", 1, 766, 1.0, 0.5882, 0.2650, 0.1642, 0.4281),
    ("2013-04-21", 1, 919, 1.0, 0.6010, 0.2437, 0.1190, 0.3520),
    ("2013-04-22", 1, 985, 1.0, 0.9299, 0.6081, 0.2531, 0.6430),
    ("2013-04-23", 2, 965, 1.0, 0.7249, 0.4933, 0.2956, 0.5487),
    ("2013-04-24", 2, 976, 1.0, 0.6375, 0.4211, 0.2730, 0.5327),
    ("2013-04-25", 2, 983, 1.0, 0.8299, 0.5972, 0.2981, 0.6680),
    ("2013-04-26", 2, 981, 1.0, 0.7419, 0.4689, 0.2563, 0.7350),
    ("2013-04-27", 2, 757, 1.0, 0.3325, 0.0793, 0.1944, 0.7449),
    ("2013-04-28", 2, 913, 1.0, 0.3925, 0.1380, 0.1629, 0.5938),
    ("2013-04-29", 2, 889, 0.181, None, None, None, 0.6113),
)


def days(count: int = len(_DAYS)) -> list[Day]:
    """The demo's days; more than there are go on like a year would."""
    found: list[Day] = []
    for i in range(count):
        name, version, flights, coverage, loss, base, predicted, expected = _DAYS[i % len(_DAYS)]
        if i >= len(_DAYS) or count > len(_DAYS):
            name = (datetime(2013, 1, 5, tzinfo=UTC) + timedelta(days=i)).strftime("%Y-%m-%d")
            version = 1 + i // 30
        spread = 0.06 + 0.02 * sin(i)
        pooled = (
            None
            if loss is None
            else Number(loss * 0.6 + 0.24, loss * 0.6 + 0.24 - spread, loss * 0.6 + 0.24 + spread, "nats")
        )
        bias = None
        if base is not None and predicted is not None:
            middle = (predicted - base) * 0.7
            bias = Number(middle, middle - spread, middle + spread)
        found.append(Day(name, version, flights, coverage, loss, expected, pooled, bias))
    return found


# -- rows --------------------------------------------------------------------------------------------------------------
HEALTHY = Health(
    "healthy",
    "Healthy: log loss is +0.1058 [-0.0510, +0.2626] nats above what the champion itself expects; the champion is 3.7 "
    "days old and the score's PSI is 0.080; no finding has fired (levels beyond: accuracy).",
    "2013-04-30T00:00:00+00:00",
    WALL - timedelta(minutes=1),
    "monitor/check_mended",
    (
        {
            "name": "level_accuracy",
            "kind": "level",
            "fired": True,
            "persistent": True,
            "value": 0.0996,
            "interval": None,
            "threshold": 0.05,
            "unit": "share below training's",
            "reason": "accuracy is 70.4%, 78.2% in training",
        },
        {
            "name": "age",
            "kind": "trigger",
            "fired": False,
            "persistent": False,
            "value": 3.73,
            "interval": None,
            "threshold": 21.0,
            "unit": "days",
            "reason": "the champion is 3.7 days old",
        },
    ),
    "2013-04-30T00:00:00+00:00",
    WALL - timedelta(minutes=1),
)
INCIDENT = Health(
    "incident",
    "Incident: origin_weather says the same as the hour before in 76% of its rows, at most 2% in training; no retrain is "
    "asked for until the feed is mended.",
    "2013-04-29T18:00:00+00:00",
    WALL - timedelta(minutes=7),
    "monitor/demo__8_broken",
    since="2013-04-29T18:00:00+00:00",
    since_at=WALL - timedelta(minutes=7),
)
RETRAIN = Health(
    "retrain",
    "Retrain: log loss is +0.2936 [+0.1195, +0.4677] nats above what the champion itself expects (limit 0.03 nats).",
    "2013-04-26T06:30:00+00:00",
    WALL - timedelta(minutes=10),
    "monitor/demo__5_look_26",
)
UNWATCHED = Health("unwatched", "Nobody has looked at it yet.", None, None, None)
TRAFFIC = Traffic(4054, 99.0, 0.21, 0.3996, 0.0, 0.0, "2013-04-29T17:59:00+00:00")
PAGE = Alert(
    f"{NAME}: a data incident",
    "Incident: origin_weather says the same as the hour before in 76% of its rows, at most 2% in training; no retrain is "
    "asked for until the feed is mended.",
    "No training is asked for, and none begins by itself, until a later look finds the feed mended. Mend the feed, take "
    "in the days again with `ingest`; the service goes on answering.",
    "page",
    "2013-04-29T18:00:00+00:00",
    Link("Report", "/dags/monitor/runs/demo__8_broken/tasks/measure", "airflow"),
    Link("Runbook of monitor", "/dags/monitor", "airflow"),
)
NOTICE = Alert(
    f"{NAME}: beyond their limits: level_accuracy",
    "accuracy is 69.7%, 78.2% in training.",
    "Nothing was changed. The page of `measure` has each level beside its limit.",
    "notice",
    "2013-04-29T18:00:00+00:00",
    Link("Report", "/dags/monitor/runs/demo__8_broken/tasks/measure", "airflow"),
    Link("Runbook of monitor", "/dags/monitor", "airflow"),
)
QUESTION = Question(
    RELEASE,
    "approval",
    -1,
    f"Release {NAME} version 4?",
    "The shadow is complete and its checks hold; approval is needed: 634 requests of 634 flights compared, 0 errors, log "
    "loss +0.0063 nats against the champion's on 634 labelled flights.",
    WALL - timedelta(minutes=4),
)
SHADOW = Progress(
    4, "shadow", 0.0, "252 of 600 labelled flights", 252, 600, WALL - timedelta(minutes=3), NOW, f"release/{RELEASE}"
)
APPROVAL = replace(
    SHADOW, stage="approval", share=0.0, text="the shadow is complete: waits for an approval", done=634, of=500
)
FROZEN = Frozen("ada", "quarter's end: nothing moves before 2 December", WALL - timedelta(hours=5))


def row(model: str = NAME, ours: bool = True) -> Row:
    """A calm one."""
    return Row(
        model=model,
        ours=ours,
        health=HEALTHY,
        champion=2,
        champion_since=WALL - timedelta(minutes=8),
        age_days=3.74,
        challenger=None,
        days=days(),
        features_as_of="2013-04-30T00:00:00+00:00",
        labels_as_of="2013-04-29T23:58:00+00:00",
        traffic=TRAFFIC,
        alerts=(),
        question=None,
        frozen=None,
        request=None,
        next_run=("train", datetime(2026, 11, 22, 6, 0, tzinfo=UTC)),
    )


def broken() -> Row:
    return replace(row(), health=INCIDENT, alerts=(PAGE, NOTICE), features_as_of="2013-04-29T18:00:00+00:00")


def waiting() -> Row:
    return replace(row(), challenger=APPROVAL, question=QUESTION)


def training() -> Row:
    doing = (Link(f"train: {TRAIN}", f"/dags/train/runs/{TRAIN}", "airflow"),)
    cause = "log loss is +0.2936 [+0.1195, +0.4677] nats above what the champion itself expects"
    return replace(row(), health=RETRAIN, request=cause, doing=doing)


def new(model: str = NAME) -> Row:
    """Of an empty installation."""
    return replace(
        row(model),
        health=UNWATCHED,
        champion=None,
        champion_since=None,
        age_days=None,
        days=(),
        features_as_of=None,
        labels_as_of=None,
        traffic=None,
        next_run=None,
    )


def several() -> Index:
    """One of each, the worst first."""
    rows = (
        broken(),
        replace(waiting(), model="arrivals_late"),
        replace(training(), model="gate_changes"),
        replace(row("turnaround_short"), challenger=SHADOW),
        replace(row("crew_missed", ours=False), frozen=FROZEN),
        row("bags_delayed", ours=False),
        new("diversions"),
    )
    return Index(rows, NOW, 1.0)


def many(count: int = 50) -> Index:
    rows = [broken(), replace(waiting(), model="arrivals_late")] + [row(f"model_{i:02d}") for i in range(count - 2)]
    return Index(rows, NOW, 600.0)


def empty() -> Index:
    why = "there is none yet. The first training begins it"
    return Index(
        (new(),), None, 1.0, (Gap("ledger", why), Gap("freshness", "nothing was ever published: run `ingest`"))
    )


# -- decisions ---------------------------------------------------------------------------------------------------------
def decisions() -> list[Decision]:
    """Newest first."""
    report = Link("Report of gate", "/ratchet/reports/train/demo__4_change/gate/", "report")
    airflow = Link("Airflow run", "/dags/train/runs/demo__4_change", "airflow")
    page = Link("What the run did", "runs/train/demo__4_change")
    told: tuple[tuple[int, str, str, Tone, int | None, str, str, str, int], ...] = (
        (37, "monitor", "found a data incident", "bad", 2, "admin", INCIDENT.reason, "2013-04-29T18:00:00+00:00", 2),
        (35, "approval", "asked for an approval", "warn", 4, "release", "the shadow is complete: waits for an approval", "2013-04-30T00:05:10+00:00", 4),
        (34, "shadow", "shadow began", "quiet", 4, "release", "Release 3: version 4 is scored beside champion 2.", "2013-04-30T00:04:57+00:00", 4),
        (25, "rollback", "rolled back", "bad", 3, "admin", "Rolled back in the shadow: its scores lie +0.2437 [+0.1168, +0.3706] beside the champion's in the mean.", "2013-04-30T00:01:46+00:00", 7),
        (22, "promotion", "promoted to champion", "good", 2, "release", "Promoted: every stage is complete and all checks hold; 2,751 requests of 2,751 flights compared, 0 errors, log loss -0.1122 nats against the champion's on 2,751 labelled flights.", "2013-04-30T00:01:08+00:00", 8),
        (19, "approved", "approved", "good", 2, "demo", "the demo's first release: its shadow is complete and every check holds", "2013-04-30T00:00:29+00:00", 9),
        (14, "gate", "accepted by the gate", "good", None, "train", "Accepted as a refresh: log loss differs from the champion's by -0.0688 [-0.1055, -0.0321] nats, shown to be within the margin +0.0050, on 6,591 flights of 7 days.", "2013-04-26T06:30:00+00:00", 9),
        (6, "gate", "refused by the gate", "warn", None, "admin", "Refused: log loss differs from the champion's by -0.0026 [-0.0070, +0.0018] nats, not shown to be below zero.", "2013-04-17T04:00:00+00:00", 12),
        (4, "champion", "first champion", "good", 1, "admin", "Accepted as the first model: log loss lies 6.7% [0.9%, 12.5%] below the naive baseline's 0.4801; it must be better, and the interval must reach 5%, on 6,603 flights of 7 days.", "2013-04-10T04:00:00+00:00", 13),
    )  # fmt: skip
    return [
        Decision(
            number, kind, what, tone, version, who, why, as_of, WALL - timedelta(minutes=ago), "train/demo__4_change",
            (page, report, airflow),
        )
        for number, kind, what, tone, version, who, why, as_of, ago in told
    ]  # fmt: skip


MARKED = ("gate", "champion", "promotion", "rollback", "rejected", "expired", "freeze", "thaw")


def marks() -> list[Decision]:
    return [decision for decision in decisions() if decision.kind in MARKED]


def versions() -> list[VersionRow]:
    def one(
        number: int, as_of: str, until: str, ago: int, role: str, was: bool, loss: Number, gone: str = ""
    ) -> VersionRow:
        return VersionRow(number, as_of, until, WALL - timedelta(minutes=ago), role, was, gone, loss)

    return [
        one(
            4, "2013-04-30T00:00:00+00:00", "2013-04-21", 4, "challenger", False, Number(0.6071, 0.4644, 0.7498, "nats")
        ),
        one(
            3, "2013-04-26T06:30:00+00:00", "2013-04-17", 7, "", False, Number(0.6402, 0.5312, 0.7492, "nats"), "frame"
        ),
        one(2, "2013-04-26T06:30:00+00:00", "2013-04-17", 9, "champion", True, Number(0.6402, 0.5312, 0.7492, "nats")),
        one(1, "2013-04-10T04:00:00+00:00", "2013-04-01", 13, "", True, Number(0.4482, 0.372, 0.5243, "nats")),
    ]


def drift() -> list[Drift]:
    told = (
        ("all_late_7d", 7.696, 0.241, 0.4239, 0.2636), ("temp", 4.7938, 0.0318, 55.082, 39.558),
        ("carrier_late_7d", 2.113, 0.118, 0.4302, 0.2611), ("origin_late_3h", 0.842, 0.3121, 0.3714, 0.2306),
        ("origin_queue_share", 0.611, 0.204, 0.1422, 0.0934), ("pressure", 0.4402, 0.0211, 1016.2, 1017.9),
        ("visib_min_3h", 0.2213, 0.0644, 8.71, 8.21), ("minute_of_day", 0.0118, 0.2862, 811.4, 808.2),
        ("distance", 0.0042, 0.0122, 1042.0, 1038.0), ("weekday", 0.2711, 0.0153, 2.96, 3.02),
    )  # fmt: skip
    return [Drift(name, psi, weight, mean, was, 0.0, 0.0) for name, psi, weight, mean, was in told]


def slices() -> list[tuple[str, str, int, Number]]:
    told = (
        ("carrier", "EV", 1067, 0.0031, 0.0003, 0.0058), ("hour_band", "00-08", 1488, 0.0008, -0.0026, 0.0043),
        ("origin", "EWR", 2476, -0.0025, -0.007, 0.0021), ("origin", "JFK", 2145, -0.0026, -0.0075, 0.0023),
        ("carrier", "UA", 1204, -0.0041, -0.0091, 0.0009), ("hour_band", "17-20", 1311, -0.0062, -0.0101, -0.0023),
    )  # fmt: skip
    return [(by, value, flights, Number(x, low, high, "nats")) for by, value, flights, x, low, high in told]


def duel() -> Duel:
    return Duel(
        2, 4, "shadow", 634, 634, 634,
        (
            ("log loss", "nats", Number(0.2931, 0.2402, 0.346, "nats"), Number(0.2994, 0.2451, 0.3537, "nats"), Number(0.0063, -0.0105, 0.0231, "nats")),
            ("predicted − observed", "", Number(0.0301, -0.0402, 0.1004), Number(0.0188, -0.0533, 0.0909), Number(-0.0113, -0.0298, 0.0072)),
            ("errors", "share", Number(0.0, unit="share"), Number(0.0, unit="share"), None),
            ("latency p99", "ms", Number(0.3996, unit="ms"), Number(0.4123, unit="ms"), Number(0.0127, unit="ms")),
        ),
        "The shadow is complete and its checks hold; approval is needed.",
        Link("Report of shadow", f"/ratchet/reports/release/{RELEASE}/shadow/", "report"),
    )  # fmt: skip


LINKS = (
    Link("DAG train", "/dags/train", "airflow"),
    Link("MLflow", "http://127.0.0.1:5190/#/models/flights_on_time", "outside"),
    Link("Evidently", "http://127.0.0.1:8290/projects/0197", "outside"),
)


def page(found: Row, gaps: tuple[Gap, ...] = ()) -> ModelPage:
    """A model's page with all its parts."""
    return ModelPage(
        row=found,
        days=days(),
        decisions=decisions(),
        more=14,
        marks=marks(),
        versions=versions(),
        duel=duel() if found.challenger else None,
        drift=drift(),
        drift_as_of="2013-04-30T00:00:00+00:00",
        slices=slices(),
        links=LINKS,
        now=NOW,
        speed=1.0,
        gaps=gaps,
    )


def blank() -> ModelPage:
    """Of an empty installation."""
    return ModelPage(new(), (), (), 0, (), (), None, (), None, (), (), None, 1.0, empty().gaps)


MLFLOW_DOWN = (Gap("evidence of the gate", "MLflow does not answer at http://127.0.0.1:5190 (ConnectError)"),)


# -- versions and runs -------------------------------------------------------------------------------------------------
def evidence(accepted: bool = False) -> Evidence:
    reason = decisions()[6 if accepted else 7].reason
    checks = [
        Check("evidence", True, "Everything asked for was measured.", 0.0, None, 0.0, "faults"),
        Check("holdout", True, "6,627 labelled flights of 7 days, 33.4% of them not on time; wanted 1,000 flights of 5 days with both outcomes.", 6627.0, None, 1000.0, "rows"),
        Check("superior", accepted, "Log loss differs from the champion's by -0.0026 [-0.0070, +0.0018] nats, not shown to be below zero.", -0.0026, (-0.007, 0.0018), 0.0, "nats"),
        Check("floor", True, "Log loss lies 1.8% [-17.4%, 20.9%] below the naive baseline's 0.6122; it must be better, and the interval must reach 5%.", 0.0179, (-0.1736, 0.2094), 0.05, "share"),
        Check("calibration.bias", True, "Mean prediction minus base rate -0.1099 [-0.1977, -0.0220]; its interval must reach within 0.05 of zero.", -0.1099, (-0.1977, -0.022), 0.05, "probability"),
        Check("slice.carrier", True, "Of 8 slices by carrier, EV (1,067 flights) does worst against the champion: +0.0031 [+0.0003, +0.0058] nats; 0 are surely worse by more than 0.030.", 0.0031, (0.0003, 0.0058), 0.03, "nats"),
        Check("latency", True, "P99 of one row through the model: 0.0643 ms, within 50 ms.", 0.0643, None, 50.0, "ms"),
        Check("size", True, "Size of the model's bundle: 0.00768 MB, within 20 MB.", 0.00768, None, 20.0, "MB"),
    ]  # fmt: skip
    scores = [
        ("log loss", "nats", {"challenger": Number(0.6012, 0.4711, 0.7313, "nats"), "champion": Number(0.6038, 0.4748, 0.7328, "nats"), "naive": Number(0.6122, 0.5518, 0.6726, "nats")}),
        ("Brier score", "", {"challenger": Number(0.2071, 0.1512, 0.263), "champion": Number(0.2083, 0.1528, 0.2638), "naive": Number(0.2122, 0.1822, 0.2422)}),
        ("area under the ROC curve", "", {"challenger": Number(0.7011, 0.6521, 0.7501), "champion": Number(0.6994, 0.6493, 0.7495), "naive": Number(0.5961, 0.5514, 0.6408)}),
        ("mean prediction minus base rate", "", {"challenger": Number(-0.1099, -0.1977, -0.022), "champion": Number(-0.1131, -0.2011, -0.0251), "naive": Number(-0.0901, -0.1512, -0.029)}),
    ]  # fmt: skip
    observed = ((0.05, 0.0811), (0.1, 0.1822), (0.16, 0.2711), (0.24, 0.3802), (0.35, 0.4733), (0.52, 0.6622))
    calibration = {
        side: [(x, Number(y + more, max(y + more - 0.06, 0), y + more + 0.06)) for x, y in observed]
        for side, more in (("challenger", 0.0), ("champion", 0.012))
    }
    return Evidence(accepted, "refresh" if accepted else "changed", reason, 1, checks, scores, slices(), calibration)


def lineage() -> list[Step]:
    return [
        Step("Tables of the lake", "5 facts, 13 feature tables", "departure@12, outcome@12, schedule@12, weather@11"),
        Step("Snapshot", "pinned and exported", "5ca1f00d2b7c6a0de1f2b3c4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708"),
        Step(
            "Frame", "96,150 flights, 51 features", "580d0e52b11dd557f941565a1744856162d90754d6f9b29b2c6a4106715bd417"
        ),
        Step("Code", "clean", "ab14897c2d3e4f5061728394a5b6c7d8e9f00112"),
        Step("MLflow run", "logistic, seed 7", "d03d7ff4038d4cdf9826cf0e64f21fa5", LINKS[1]),
        Step("Bundle", "ONNX, 7.7 kB", "97541cad3813bdfa56ef9f13e085ddac81dfb4074dcca7672321e9e1d69eae44"),
        Step(
            "Bento",
            "flights_on_time:2-3801c834c9f0",
            "5ddad2bb321869011385ccfcca8eb3f88f82aee15999d2d8a00eb97e4df0e9ba",
        ),
    ]


CAUSES = ("surprise by monitor: log loss is +0.2936 [+0.1195, +0.4677] nats above what the champion itself expects",)


def version(gaps: tuple[Gap, ...] = ()) -> VersionPage:
    found = None if gaps else evidence(True)
    return VersionPage(NAME, versions()[2], found, decisions()[4:6], lineage(), CAUSES, LINKS, gaps)


def refused() -> RunPage:
    reports = (
        Link("check", "/ratchet/reports/train/demo__4_change/check/", "report"),
        Link("gate", "/ratchet/reports/train/demo__4_change/gate/", "report"),
    )
    return RunPage(
        "train",
        "demo__4_change",
        NAME,
        "Trained a changed configuration and refused it: log loss differs from the champion's by -0.0026 [-0.0070, +0.0018] "
        "nats, not shown to be below zero. Champion 1 stays.",
        "warn",
        None,
        evidence(),
        [decisions()[7]],
        lineage()[:4],
        (),
        reports,
        LINKS[:2],
    )


def live() -> Live:
    return Live(WALL - timedelta(minutes=5), 2, 4, "shadow", 0.0, decisions()[4])


def site(powers: Powers = ALL, root: str = "", act: str = "../act/") -> Site:
    return Site(root=root, airflow="", act=act, wall=WALL, powers=powers, etag="0")
