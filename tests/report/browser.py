"""A headless Chromium, driven through its DevTools protocol over a pair of pipes: no driver, no port, no download.

https://chromedevtools.github.io/devtools-protocol/ with `--remote-debugging-pipe`: the browser reads messages from file
descriptor 3 and writes them to 4, JSON with a NUL behind each.
"""

from __future__ import annotations

import base64
import fcntl
import importlib.metadata
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--disable-sync",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
)
PATIENCE = 120.0
"""Seconds that an answer may take; a busy machine is slow."""


def found() -> str | None:
    """The browser: `GEOAUDIT_CHROMIUM`, else what is on the path."""
    named = os.environ.get("GEOAUDIT_CHROMIUM")
    return named or next((path for name in NAMES if (path := shutil.which(name))), None)


def axe() -> Path | None:
    """axe-core, as a package of the index carries it; None where that is not installed."""
    try:
        package = importlib.metadata.distribution("axe-playwright-python")
    except importlib.metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file("axe_playwright_python/axe.min.js")))
    return path if path.is_file() else None


class Browser:
    """One process with one page at a time."""

    def __init__(self, program: str, profile: Path) -> None:
        theirs, self._to = os.pipe()
        self._from, answers = os.pipe()
        # Out of the way of 3 and 4, which the child is to have.
        ends = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, answers)]
        os.close(theirs)
        os.close(answers)

        def place() -> None:
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        self._process = subprocess.Popen(
            [program, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(3, 4),
            preexec_fn=place,
        )
        for end in ends:
            os.close(end)
        self._rest = b""
        self._n = 0
        self.events: list[dict[str, Any]] = []
        """What the browser reported since it was last asked to forget."""

    def ask(self, method: str, session: str | None = None, /, **parameters: Any) -> dict[str, Any]:
        """Send a command and wait for its answer; events on the way are kept."""
        self._n += 1
        message = {"id": self._n, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        end = time.monotonic() + PATIENCE
        while True:
            answer = self._next(end)
            if answer.get("id") == self._n:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self.events.append(answer)

    def wait(self, method: str) -> dict[str, Any]:
        """The first event of this name since the events were last forgotten."""
        end = time.monotonic() + PATIENCE
        while True:
            for event in self.events:
                if event.get("method") == method:
                    return event
            self.events.append(self._next(end))

    def _next(self, end: float) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            piece = os.read(self._from, 1 << 20)
            assert piece, "the browser went away"
            self._rest += piece
        message, _, self._rest = self._rest.partition(b"\0")
        read: dict[str, Any] = json.loads(message)
        return read

    def close(self) -> None:
        """End the process."""
        for end in (self._to, self._from):
            os.close(end)
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)

    @contextmanager
    def page(
        self, path: Path, *, width: int = 1280, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> Iterator[Page]:
        """A file in a fresh tab."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        self.events.clear()
        for domain in ("Page", "Network", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.resize(width, height)
        page.ask("Emulation.setEmulatedMedia", features=_features(dark))
        if not scripts:
            page.ask("Emulation.setScriptExecutionDisabled", value=True)
        page.ask("Page.navigate", url=path.resolve().as_uri())
        self.wait("Page.loadEventFired")
        try:
            yield page
        finally:
            self.ask("Target.closeTarget", targetId=target)
            self.events.clear()


class Page:
    """A tab."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session

    def ask(self, method: str, /, **parameters: Any) -> dict[str, Any]:
        """A command of this tab."""
        return self._browser.ask(method, self._session, **parameters)

    def resize(self, width: int, height: int = 900) -> None:
        """The window, in CSS pixels."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )

    def media(self, kind: str = "", *, dark: bool = False, reduced: bool = False) -> None:
        """`print` or `screen`, and what the reader prefers."""
        self.ask("Emulation.setEmulatedMedia", media=kind, features=_features(dark, reduced))

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript gives, awaited."""
        answer = self.ask("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str, code: int, text: str = "") -> None:
        """A key, as a person presses it."""
        named = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **named, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **named)

    def type(self, text: str) -> None:
        """Text into what has the focus."""
        self.ask("Input.insertText", text=text)

    def move(self, x: float, y: float) -> None:
        """The mouse, in the window."""
        self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    @property
    def requests(self) -> list[str]:
        """Addresses that were asked for."""
        return [event["params"]["request"]["url"] for event in self._named("Network.requestWillBeSent")]

    @property
    def complaints(self) -> list[str]:
        """Everything on the console: messages, exceptions, what the policy refused."""
        said = [json.dumps(event["params"]) for event in self._named("Runtime.consoleAPICalled")]
        said += [json.dumps(event["params"]["exceptionDetails"]) for event in self._named("Runtime.exceptionThrown")]
        return said + [event["params"]["entry"]["text"] for event in self._named("Log.entryAdded")]

    def violations(self) -> list[str]:
        """What axe-core finds by all its rules but that of contrast; a line for each rule."""
        return self._axe("document", {"rules": {"color-contrast": {"enabled": False}}})

    def faint(self) -> tuple[int, list[str]]:
        """How many texts axe-core looked at, one of each kind, and whose contrast is low: all of them take seconds."""
        return int(self.value(_KINDS)), self._axe("{include: kinds}", {"runOnly": ["color-contrast"]})

    def _axe(self, where: str, asked: dict[str, Any]) -> list[str]:
        path = axe()
        assert path is not None
        if not self.value("'axe' in window"):
            self.ask("Runtime.evaluate", expression=path.read_text(encoding="utf-8"))
        asked = {"resultTypes": ["violations"], **asked}
        found = "violations.map(v => v.id + ' (' + v.impact + '), ' + v.nodes.length + ' times: ' + v.help + ': '"
        return list(self.value(f"axe.run({where}, {json.dumps(asked)}).then(r => r.{found} + {_NODES}))"))

    def screenshot(self, path: Path) -> None:
        """The whole page as a picture."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def pdf(self) -> bytes:
        """The page as it is printed."""
        return base64.b64decode(self.ask("Page.printToPDF", preferCSSPageSize=True, printBackground=True)["data"])

    def _named(self, method: str) -> list[dict[str, Any]]:
        self.ask("Runtime.evaluate", expression="0")  # what was still on its way is there before the answer
        mine = [event for event in self._browser.events if event.get("sessionId") == self._session]
        return [event for event in mine if event["method"] == method]


_KINDS = """(() => {
    const own = e => [...e.childNodes].some(n => n.nodeType === Node.TEXT_NODE && n.nodeValue.trim());
    const style = e => { const s = getComputedStyle(e); return [e.localName, e.getAttribute('class'), s.color, s.fill,
        s.backgroundColor, s.backgroundImage, s.opacity, s.fontSize, s.fontWeight, s.position].join(); };
    const kind = e => e ? kind(e.parentElement) + ' > ' + style(e) : '';
    const texts = [...document.body.querySelectorAll('*')].filter(own);
    window.kinds = [...new Map(texts.map(e => [kind(e), e])).values()];
    return kinds.length; })()"""
"""Elements with text of their own, one of each: two are of a kind if they and all they stand in have the same tag,
class, colours, size and weight, which is what the contrast depends on."""
_NODES = "v.nodes.slice(0, 4).map(n => n.target + ' ' + n.html.slice(0, 160) + ' | ' + n.failureSummary).join(' ; ')"


def _features(dark: bool, reduced: bool = False) -> list[dict[str, str]]:
    return [
        {"name": "prefers-color-scheme", "value": "dark" if dark else "light"},
        {"name": "prefers-reduced-motion", "value": "reduce" if reduced else "no-preference"},
    ]
