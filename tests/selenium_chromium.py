"""A page in headless chromium, where that is installed."""

import contextlib
import shutil

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")


@contextlib.contextmanager
def open_page(path, width=1280, height=900, dark=False):
    """A browser that shows a file; it closes in the end.

    Args:
        path: Of the file.
        width: Of the screen, in CSS pixels; a telephone's narrow ones, too.
        height: Of the screen.
        dark: Whether the reader likes dark pages.
    """
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    quiet = ("headless", "no-sandbox", "disable-gpu", "no-first-run", "disable-sync")
    for name in (*quiet, "disable-background-networking", "disable-component-update"):
        options.add_argument(f"--{name}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        # A window has a least width; the screen that is emulated has none.
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
        browser.get(path.as_uri())
        yield browser
    finally:
        browser.quit()
