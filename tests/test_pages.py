"""Where pages lie, and that no request finds anything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from include import pages
from include.settings import Settings

RUN = "scheduled__2013-03-01T05:00:00+00:00"
# what walks: dots, slashes, their encodings, encodings of those
WALKS = ["..", ".", "/", "%2e", "%2f", "%252e", "~", "a", "\0", "secret.json", "\\"]
PART = st.lists(st.sampled_from(WALKS), max_size=6).map("".join)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One page, and secrets around it that must never be found."""
    made = Settings(home=tmp_path_factory.mktemp("pages") / "var")
    page = pages.folder(made, "train", RUN, "gate")
    page.mkdir(parents=True)
    (page / "index.html").write_text("page")
    for folder in (made.home, made.reports, page.parent, page.parent.parent):
        (folder / "secret.json").write_text("secret")
        (folder / "index.html").write_text("secret")
    return made


def test_a_run_id_stays_one_folder() -> None:
    made = Settings(home=Path("/var/ratchet"))
    assert pages.folder(made, "train", "a/../b", "..").relative_to(made.reports).parts == (
        "train",
        "a%2F..%2Fb",
        "%2E%2E",
    )
    assert pages.folder(made, "train", RUN, "trial", 3).name == "3"


@pytest.mark.parametrize("rest", ["", "index.html", "."])
def test_a_page_is_found(home: Settings, rest: str) -> None:
    found = pages.find(home, "train", RUN, "gate", rest)
    assert found is not None
    assert found.read_text() == "page"


def test_a_run_id_encoded_once_more_is_found(home: Settings) -> None:
    assert pages.find(home, "train", RUN.replace(":", "%3A").replace("+", "%2B"), "gate") is not None


@settings(deadline=None, max_examples=300)
@given(PART, PART, PART, PART)
def test_nothing_but_the_tasks_own_pages_is_found(home: Settings, dag: str, run: str, task: str, rest: str) -> None:
    for ids in ((dag, run, task), ("train", RUN, "gate"), ("train", RUN, task)):
        found = pages.find(home, *ids, rest)
        assert found is None or found.read_text() == "page"


def test_a_name_too_long_for_a_file_is_not_found(home: Settings) -> None:
    assert pages.find(home, "train", RUN, "gate", "a" * 5000 + ".html") is None


def test_a_symlink_does_not_lead_out(home: Settings) -> None:
    page = pages.folder(home, "train", RUN, "gate") / "leak.html"
    page.symlink_to(home.home / "secret.json")
    assert pages.find(home, "train", RUN, "gate", "leak.html") is None
