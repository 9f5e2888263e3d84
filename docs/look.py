"""Check every page of the built site in Chromium, as `make look` does.

python docs/look.py SITE [--screenshots FOLDER]

A page fails if it is wider than a phone screen, if the browser console has messages, or if an image
is missing. The search must rank the expected pages first for common queries. The script needs
selenium, chromium and chromedriver.
"""

import argparse
import shutil
import sys
import tempfile
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from selenium import webdriver

PHONE, DESK = (390, 844), (1280, 900)
FLAGS = ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage", "hide-scrollbars")
OF_ITS_OWN = ("examples/", "404.html")
"""Pages that are not part of the documentation: reports of studies, and the 404 page."""

SEARCHES = {
    "learning rate": ("settings/", "howlong/"),
    "SLM": ("glossary/", "presets/"),
    "resume": ("howto/", "start/"),
    "CSV": ("howto/", "data/"),
    "tau_theta": ("settings/", "concepts/"),
    "add a rule": ("howto/", "extend/"),
    "photonic mesh": ("which/", "presets/"),
    "diverge": ("troubleshooting/",),
}
"""Search queries, with the pages of which one must be the first result."""

FIRST = "return document.querySelector('.md-search-result__link')?.href || ''"


class Quiet(SimpleHTTPRequestHandler):
    """A file server without log output."""

    def log_message(self, *_: Any) -> None:
        """Discard log messages."""


def opened(profile: str) -> webdriver.Chrome:
    """Start a browser that records its console messages."""
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium") or ""
    for flag in (*FLAGS, f"user-data-dir={profile}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def sized(browser: webdriver.Chrome, size: tuple[int, int], scheme: str = "light") -> None:
    """Set the window size in pixels and the preferred colour scheme."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 800}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def faults(browser: webdriver.Chrome, address: str) -> list[str]:
    """The errors of a page on a phone screen."""
    browser.get(address)
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    broken = browser.execute_script(
        "return [...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)"
    )
    said = [entry["message"] for entry in browser.get_log("browser")]
    too_wide = [f"is {wide} pixels wide of {PHONE[0]}"] if wide > PHONE[0] else []
    return [*too_wide, *(f"lacks {image}" for image in broken), *said]


def first_found(browser: webdriver.Chrome, home: str, words: str) -> str:
    """The first page in the search results."""
    browser.get(f"{home}?q={words.replace(' ', '+')}")
    end = time.monotonic() + 20
    while not (first := browser.execute_script(FIRST)) and time.monotonic() < end:
        time.sleep(0.1)
    return str(first).removeprefix(home).partition("?")[0]


def pictured(browser: webdriver.Chrome, home: str, pages: list[str], folder: Path) -> None:
    """Save screenshots of each page on desktop and phone, in the light and the dark scheme."""
    for page in pages:
        for place, size in (("desk", DESK), ("phone", PHONE)):
            for scheme in ("light", "dark"):
                sized(browser, size, scheme)
                browser.get(home + page)
                browser.execute_script("localStorage.clear()")  # the theme stores the last scheme
                browser.refresh()
                name = page.strip("/").replace("/", "-") or "index"
                browser.save_screenshot(str(folder / f"{name}-{place}-{scheme}.png"))


def main() -> None:
    """Check all pages; the exit status is 1 if there is an error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("site", type=Path)
    parser.add_argument("--screenshots", type=Path)
    given = parser.parse_args()
    found = sorted(path.relative_to(given.site) for path in given.site.rglob("*.html"))
    pages = [str(path).removesuffix("index.html") for path in found]
    pages = [page for page in pages if not page.startswith(OF_ITS_OWN)]
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=given.site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    home = f"http://127.0.0.1:{server.server_port}/"
    wrong = []
    with tempfile.TemporaryDirectory() as profile:
        browser = opened(profile)
        try:
            sized(browser, PHONE)
            for page in pages:
                wrong += [f"{page}: {fault}" for fault in faults(browser, home + page)]
            for words, expected in SEARCHES.items():
                first = first_found(browser, home, words)
                if first not in expected:
                    wrong.append(f"search: '{words}' finds '{first}' first")
            if given.screenshots:
                given.screenshots.mkdir(parents=True, exist_ok=True)
                pictured(browser, home, pages, given.screenshots)
        finally:
            browser.quit()
            server.shutdown()
    sys.stdout.write("\n".join([*wrong, f"{len(pages)} pages, {len(wrong)} faults"]) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
