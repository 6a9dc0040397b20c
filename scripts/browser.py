"""The system's Chromium, and a person who is logged in to Airflow in it: for the pictures and for the tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from scripts.stack.config import Stack, passwords

Theme = Literal["light", "dark"]
SIZE: ViewportSize = {"width": 1280, "height": 800}
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class NoBrowser(RuntimeError):
    """There is no Chromium; the message says how to get one."""


@contextmanager
def opened() -> Iterator[Browser]:
    """CHROMIUM=/path/to/chromium names another browser than the system's. Raises NoBrowser."""
    path = os.environ.get("CHROMIUM") or shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        raise NoBrowser("No Chromium: `apt-get install chromium`, or name one with CHROMIUM=/path/to/it.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def page(browser: Browser, theme: Theme = "light") -> Page:
    """A window of somebody who has not logged in yet, with that theme: the system's, and the one kept by Airflow."""
    context = browser.new_context(viewport=SIZE, color_scheme=theme)
    context.add_init_script(f"try {{ localStorage.theme = '{theme}' }} catch (e) {{}}")
    return context.new_page()


def log_in(page: Page, stack: Stack, user: str = "admin") -> None:
    page.goto(f"{stack.url}/auth/login")
    page.fill("input[name=username]", user)
    page.fill("input[name=password]", passwords(stack)[user])
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "/auth/" not in url)
