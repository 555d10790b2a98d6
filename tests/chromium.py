"""A page looked at in headless Chromium, where the machine has one: its own command line alone, nothing that pip installs.

The page stands in a frame of the width that is asked for, as a window of Chromium's is never narrower than 500 pixels.
"""

import contextlib
import html
import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--hide-scrollbars", "--allow-file-access-from-files",
)  # fmt: skip
SCHEMES = {"dark": 0, "light": 1}
"""Chromium's numbers."""
PATIENCE = 120
"""Seconds."""
VIRTUAL_MILLISECONDS = 8000
"""The page's clock runs so far: its script is done by then."""
FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="{page}" style="border:0;width:{width}px;height:{height}px"></iframe>"""
WATCH = """<script>window.troubles = [];
addEventListener("error", event => troubles.push(String(event.message)), true);
addEventListener("unhandledrejection", event => troubles.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...all) => troubles.push(all.map(String).join(" "));</script>"""
TELL = """<script>setTimeout(() => {{ {before} }}, 1500); setTimeout(() => {{
  const box = element => element.getBoundingClientRect(), width = document.documentElement.clientWidth;
  const shown = element => box(element).width > 0 && !element.closest(".all");
  parent.postMessage({{
    troubles, width, scroll: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
    past: [...document.querySelectorAll("body *")].filter(element => shown(element) && box(element).right > width + 1)
      .map(element => element.tagName + "." + (element.getAttribute("class") ?? "") + " " + element.textContent.slice(0, 40)),
    answer: (() => {{ {ask} }})() ?? null,
  }}, "*");
}}, 3000);</script>"""
LISTEN = """<script>addEventListener("message", event => {
  const told = document.createElement("pre");
  told.id = "told", told.textContent = JSON.stringify(event.data);
  document.body.append(told);
});</script>"""


@dataclass(frozen=True)
class Seen:
    """What a page was like."""

    troubles: list[str]
    """Errors, and what it wrote to the console."""
    width: int
    scroll: int
    """Wider than `width`: something is cut off."""
    height: int
    past: list[str]
    """Elements that end right of the window."""
    answer: object
    """Of the question that was asked."""


def find_chromium() -> str | None:
    """The path of the first that is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look_at(page: Path, width: int, scheme: str = "light", before: str = "", ask: str = "") -> Seen:
    """Open `page` in a window of `width` pixels.

    Args:
        scheme: light or dark.
        before: JavaScript that is run in the page, such as a click.
        ask: the body of a JavaScript function, whose result is the answer.
    """
    with _framed(page, width, 1000, TELL.format(before=before, ask=ask)) as frame:
        found = _run(frame, scheme, "--dump-dom", f"--window-size={max(width, 500)},1000")
    told = re.search(r'<pre id="told">(.*?)</pre>', found, re.DOTALL)
    assert told is not None, f"{page} said nothing: {found[-2000:]}"
    return Seen(**json.loads(html.unescape(told[1])))


def picture_of(
    page: Path, target: Path, width: int, height: int, scheme: str = "light", before: str = ""
) -> None:
    """Write a PNG of the upper `height` pixels of `page`, cut to `width`."""
    from PIL import Image

    with _framed(page, width, height, TELL.format(before=before, ask="")) as frame:
        _run(frame, scheme, f"--screenshot={target}", f"--window-size={max(width, 500)},{height}")
    with Image.open(target) as found:
        cut = found.convert("RGB").crop((0, 0, width, height)).quantize(128)
    cut.save(target, optimize=True)


@contextlib.contextmanager
def _framed(page: Path, width: int, height: int, script: str):
    """A file that shows a copy of `page` with `script` in a frame."""
    with tempfile.TemporaryDirectory() as folder:
        text = page.read_text(encoding="utf-8")
        copy = Path(folder) / "page.html"
        if text.lstrip().startswith("<!DOCTYPE"):
            text = text.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{script}</body>")
        else:
            text = f"<!DOCTYPE html><meta name='color-scheme' content='light dark'>{WATCH}<body style='margin:0'>{text}{script}"
        copy.write_text(text, encoding="utf-8")
        frame = Path(folder) / "frame.html"
        frame.write_text(LISTEN + FRAME.format(page=copy.name, width=width, height=height), encoding="utf-8")
        yield frame


def _run(page: Path, scheme: str, *flags: str) -> str:
    binary = find_chromium()
    assert binary is not None
    with tempfile.TemporaryDirectory() as profile:
        done = subprocess.run(
            [
                binary, *FLAGS, f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}", f"--user-data-dir={profile}",
                f"--virtual-time-budget={VIRTUAL_MILLISECONDS}", *flags, page.as_uri(),
            ],
            capture_output=True, text=True, timeout=PATIENCE, check=True,
        )  # fmt: skip
    return done.stdout
