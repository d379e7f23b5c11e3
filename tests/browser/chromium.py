"""A headless chromium, spoken to over its DevTools protocol: JSON, a zero byte after each message, over two pipes.

One thread does it all. Whoever waits for something reads messages until it is there; events are kept, and those of a
wallet's binding are answered on the way.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

SECONDS_MAX = 30

# What a browser asks of its maker by itself, and what costs time on a machine without a screen.
FLAGS = [
    "--headless=new",
    "--remote-debugging-pipe",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-extensions",
    "--disable-sync",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--metrics-recording-only",
    "--password-store=basic",
]

KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), "Escape": (27, "")}


class ProtocolError(Exception):
    """The browser did not do what it was told to."""


class Browser:
    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="debros-browser-")
        commands, self.write_end = os.pipe()
        self.read_end, answers = os.pipe()
        arguments = [shutil.which("chromium"), *FLAGS, f"--user-data-dir={self.directory}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")
        # It reads from descriptor 3 and writes to 4.
        shell = ["bash", "-c", f'exec "$@" 3<&{commands} 4>&{answers}', "bash"]
        self.process = subprocess.Popen(
            [*shell, *arguments, "about:blank"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.buffer = b""
        self.number = 0
        self.answers = {}
        self.pages = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.post("Browser.close")
            self.process.wait(SECONDS_MAX)
        except (OSError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
        os.close(self.write_end)
        os.close(self.read_end)
        shutil.rmtree(self.directory, ignore_errors=True)

    def post(self, method, session=None, **parameters):
        """Sends a command; its number."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        rest = json.dumps(message).encode() + b"\0"
        while rest:
            rest = rest[os.write(self.write_end, rest) :]
        return self.number

    def send(self, method, session=None, **parameters):
        """Sends a command; its answer."""
        number = self.post(method, session, **parameters)
        deadline = time.monotonic() + SECONDS_MAX
        while number not in self.answers:
            self.read(deadline, f"the answer to {method}")
        answer = self.answers.pop(number)
        if "error" in answer:
            raise ProtocolError(f"{method}: {answer['error']['message']}")
        return answer["result"]

    def read(self, deadline, what):
        """Takes in what has come, or waits for something to come."""
        ready, _, _ = select.select([self.read_end], [], [], max(0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError(f"the browser did not send in time: {what}")
        received = os.read(self.read_end, 1 << 20)
        if not received:
            raise ProtocolError("the browser has ended")
        *messages, self.buffer = (self.buffer + received).split(b"\0")
        for message in map(json.loads, messages):
            if "id" in message:
                self.answers[message["id"]] = message
            elif message.get("sessionId") in self.pages:
                self.pages[message["sessionId"]].take(message["method"], message["params"])

    def page(self, wallets=(), width=1280, height=900, scheme="light"):
        """A page of a profile of its own, with the wallets injected before any script of the page."""
        context = self.send("Target.createBrowserContext")["browserContextId"]
        target = self.send("Target.createTarget", url="about:blank", browserContextId=context)["targetId"]
        session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = self.pages[session] = Page(self, session, context, wallets)
        page.send("Page.enable")
        page.send("Network.enable")
        page.send("Runtime.enable")
        page.send("Runtime.addBinding", name="askTestWallet")
        page.send("Page.addScriptToEvaluateOnNewDocument", source=page.injected())
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        page.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        return page


class Page:
    def __init__(self, browser, session, context, wallets):
        self.browser = browser
        self.session = session
        self.context = context
        self.wallets = {wallet.identity: wallet for wallet in wallets}
        self.requests = []
        self.responses = {}
        self.loads = 0
        self.exceptions = []

    def injected(self):
        with open(os.path.join(os.path.dirname(__file__), "injected_wallets.js"), encoding="utf-8") as script:
            described = json.dumps([wallet.described() for wallet in self.wallets.values()])
            return script.read().replace("/* WALLETS */ []", described)

    def send(self, method, **parameters):
        return self.browser.send(method, self.session, **parameters)

    def take(self, event, told):
        if event == "Runtime.bindingCalled":
            self.answer_wallet(json.loads(told["payload"]))
        elif event == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif event == "Network.responseReceived":
            self.responses[told["response"]["url"]] = told["response"]
        elif event == "Page.loadEventFired":
            self.loads += 1
        elif event == "Runtime.exceptionThrown":
            details = told["exceptionDetails"]
            self.exceptions.append(details.get("exception", {}).get("description", details["text"]))

    def answer_wallet(self, asked):
        answer = self.wallets[asked["wallet"]].answer(asked["method"], asked["parameters"])
        # A wallet that says nothing keeps the page waiting.
        if answer is not None:
            call = f"answerOfTestWallet({json.dumps(asked['number'])}, {json.dumps(answer)})"
            self.browser.post("Runtime.evaluate", self.session, expression=call)

    def open(self, url):
        """Goes there; the response."""
        before = self.loads
        told = self.send("Page.navigate", url=url)
        if "errorText" in told:
            raise ProtocolError(f"{url}: {told['errorText']}")
        deadline = time.monotonic() + SECONDS_MAX
        while self.loads == before:
            self.browser.read(deadline, f"{url} is loaded")
        return self.responses[url]

    def evaluate(self, expression):
        """The value of an expression, awaited if it is a promise."""
        told = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in told:
            raise ProtocolError(f"{expression}: {told['exceptionDetails']}")
        return told["result"].get("value")

    def until(self, expression, seconds=SECONDS_MAX):
        """Polls until the expression holds in the page, and gives its value."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.evaluate(expression)
            if found:
                return found
            if time.monotonic() > deadline:
                text = self.evaluate("document.body.innerText")
                raise TimeoutError(f"not within {seconds} s: {expression}; the page says:\n{text}\n{self.exceptions}")
            try:
                self.browser.read(time.monotonic() + 0.05, "anything")
            except TimeoutError:
                pass

    def pump(self, condition, what):
        """Takes in messages until something holds outside of the page."""
        deadline = time.monotonic() + SECONDS_MAX
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"not within {SECONDS_MAX} s: {what}; the page says:\n{self.text()}")
            try:
                self.browser.read(time.monotonic() + 0.05, what)
            except TimeoutError:
                pass

    def text(self):
        """What can be seen, in one line."""
        return " ".join(self.evaluate("document.body.innerText").split())

    def press(self, key):
        code, text = KEYS[key]
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text):
        self.send("Input.insertText", text=text)

    def screenshot(self, name):
        directory = os.environ.get("DEBROS_SCREENSHOTS")
        if directory:
            picture = self.send("Page.captureScreenshot", captureBeyondViewport=False)["data"]
            with open(os.path.join(directory, f"{name}.png"), "wb") as file:
                file.write(base64.b64decode(picture))

    def close(self):
        del self.browser.pages[self.session]
        self.browser.send("Target.disposeBrowserContext", browserContextId=self.context)
