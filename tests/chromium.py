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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
FRAME = '<iframe src="{page}" style="border:0;width:{width}px;height:{height}px"></iframe>'
BARE = "<!DOCTYPE html><meta charset='utf-8'><meta name='color-scheme' content='light dark'>"
"""Before a picture that is looked at by itself."""
WATCH = """<script>window.troubles = [];
addEventListener("error", event => troubles.push(String(event.message)), true);
addEventListener("unhandledrejection", event => troubles.push(String(event.reason)));
for (const kind of ["error", "warn"]) console[kind] = (...all) => troubles.push(all.map(String).join(" "));</script>"""
TELL = """<script>setTimeout(() => {{ {before} }}, 1500); setTimeout(() => {{
  const box = element => element.getBoundingClientRect(), width = document.documentElement.clientWidth;
  const shown = element => box(element).width > 0 && !element.closest(".all");
  parent.postMessage({{
    view: {view}, troubles, width, scroll: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
    past: [...document.querySelectorAll("body *")].filter(element => shown(element) && box(element).right > width + 1)
      .map(element => element.tagName + "." + (element.getAttribute("class") ?? "") + " " + element.textContent.slice(0, 40)),
    answer: (() => {{ {ask} }})() ?? null,
  }}, "*");
}}, 3000);</script>"""
LISTEN = """<!DOCTYPE html><body style="margin:0"><script>addEventListener("message", event => {
  const told = document.createElement("pre");
  told.className = "told", told.textContent = JSON.stringify(event.data);
  document.body.append(told);
});</script>"""


@dataclass(frozen=True)
class View:
    """A page, or an SVG file, in a window of so many pixels."""

    page: Path
    width: int
    before: str = ""
    """JavaScript that is run in it, such as a click."""
    ask: str = ""
    """The body of a JavaScript function, whose result is the answer."""
    height: int = 1000


@dataclass(frozen=True)
class Seen:
    """What a view was like."""

    troubles: list[str]
    """Errors, and what it wrote to the console."""
    width: int
    scroll: int
    """Wider than `width`: something is cut off."""
    height: int
    past: list[str]
    """Elements that end right of the window."""
    answer: Any


def find_chromium() -> str | None:
    """The path of the first that is installed."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def look_at(views: Sequence[View], scheme: str = "light") -> list[Seen]:
    """What each of `views` is like; `scheme`: light or dark."""
    with _framed(views) as frame:
        found = _run(frame, scheme, "--dump-dom", "--window-size=1600,1000")
    told = [
        json.loads(html.unescape(each))
        for each in re.findall(r'<pre class="told">(.*?)</pre>', found, re.DOTALL)
    ]
    by_view = {each.pop("view"): Seen(**each) for each in told}
    assert len(by_view) == len(views), f"{len(by_view)} of {len(views)} pages said something: {found[-2000:]}"
    return [by_view[number] for number in range(len(views))]


def picture_of(view: View, target: Path, scheme: str = "light") -> None:
    """Write a PNG of the upper part of a view."""
    from PIL import Image

    with _framed([view]) as frame:
        _run(frame, scheme, f"--screenshot={target}", f"--window-size={max(view.width, 500)},{view.height}")
    with Image.open(target) as found:
        cut = found.convert("RGB").crop((0, 0, view.width, view.height)).quantize(128)
    cut.save(target, optimize=True)


@contextlib.contextmanager
def _framed(views: Sequence[View]) -> Iterator[Path]:
    """A file that shows copies of the pages, each with its script, in frames."""
    with tempfile.TemporaryDirectory() as folder:
        frames = []
        for number, view in enumerate(views):
            text = view.page.read_text(encoding="utf-8")
            script = TELL.format(view=number, before=view.before, ask=view.ask)
            if text.lstrip().startswith("<!DOCTYPE"):
                text = text.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{script}</body>")
            else:
                text = f"{BARE}{WATCH}<body style='margin:0'>{text}{script}"
            (Path(folder) / f"{number}.html").write_text(text, encoding="utf-8")
            frames.append(FRAME.format(page=f"{number}.html", width=view.width, height=view.height))
        shown = Path(folder) / "frames.html"
        shown.write_text(LISTEN + "".join(frames), encoding="utf-8")
        yield shown


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
