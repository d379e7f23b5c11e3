"""The login page in a real browser, against a real gateway."""

import contextlib
import http.server
import json
import queue
import threading
import unittest
import urllib.parse

from chromium import Browser
from cluster import Cluster
from wallets import EthereumWallet, SolanaWallet, call, make_key

CLICK = "document.querySelectorAll('#wallets button')[{}].click()"
SHOWS_WALLETS = "document.querySelectorAll('#wallets button').length"
PROBLEM = "!document.getElementById('problem').hidden && document.getElementById('problem').innerText"


def visible(identity):
    return f"!!document.getElementById('{identity}')?.checkVisibility()"


class CallbackServer:
    """What a command-line program does: waits on loopback for a browser to bring a key."""

    def __init__(self):
        arrived = self.arrived = queue.Queue()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                if self.path != "/favicon.ico":
                    arrived.put(self.path)
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(b"<title>back</title><p>You can close this page.")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/callback"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def wait(self, page):
        """Path and parameters of the request that the page makes."""
        page.pump(lambda: not self.arrived.empty(), "the browser comes back")
        url = urllib.parse.urlsplit(self.arrived.get())
        return url.path, urllib.parse.parse_qs(url.query, strict_parsing=True, keep_blank_values=True)


class LoginCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(nodes=1)
        cls.addClassCleanup(cls.cluster.stop)
        addresses = json.loads((cls.cluster.nodes[0].directory / "addresses.json").read_text())
        cls.gateway = f"http://{addresses['gateway']}"
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    @contextlib.contextmanager
    def page(self, *wallets, query=None, **options):
        """The login page."""
        page = self.browser.page(wallets, **options)
        try:
            page.open(self.login(**(query or {})))
            page.until(visible("sign-in"))
            yield page
            self.assertEqual(page.exceptions, [])
        finally:
            page.close()

    def login(self, **query):
        return f"{self.gateway}/v1/auth/login?{urllib.parse.urlencode(query)}"

    def callback(self):
        server = CallbackServer()
        self.addCleanup(server.close)
        return server

    def assert_key_opens(self, key, namespace):
        status, told = call("GET", f"{self.gateway}/v1/auth/whoami", headers={"X-API-Key": key})
        self.assertEqual((status, told.get("namespace")), (200, namespace), told)


class SigningIn(LoginCase):
    def come_back(self, wallet, namespace):
        program = self.callback()
        query = {"callback": program.url, "state": "s&t=a/t?e", "namespace": namespace}
        with self.page(wallet, query=query) as page:
            page.evaluate(CLICK.format(0))
            path, given = program.wait(page)
        self.assertEqual(path, "/callback")
        self.assertEqual(set(given), {"api_key", "namespace", "wallet", "plan", "state"})
        self.assertEqual(given["state"], ["s&t=a/t?e"])
        self.assertEqual(given["namespace"], [namespace])
        self.assert_key_opens(given["api_key"][0], namespace)
        return given

    def test_an_ethereum_wallet_brings_a_key_to_the_program_that_waits(self):
        wallet = EthereumWallet()
        given = self.come_back(wallet, "ether")
        self.assertEqual(given["wallet"][0].lower(), wallet.address)
        self.assertEqual(len(wallet.signed), 1)
        self.assertIn("wants you to sign in with your Ethereum account", wallet.signed[0])
        self.assertIn("namespace ether for api_key_generation", wallet.signed[0])

    def test_a_solana_wallet_brings_a_key_to_the_program_that_waits(self):
        wallet = SolanaWallet()
        given = self.come_back(wallet, "sun")
        self.assertEqual(given["wallet"], [wallet.address])
        self.assertIn("wants you to sign in with your Solana account", wallet.signed[0])

    def test_a_wallet_that_only_sets_window_ethereum_works(self):
        self.come_back(EthereumWallet(kind="window.ethereum"), "injected")

    def test_a_query_that_the_callback_has_is_kept_and_cannot_set_the_key(self):
        program = self.callback()
        query = {"callback": f"{program.url}?session=7&name=a%26b&api_key=theirs", "namespace": "query"}
        with self.page(EthereumWallet(), query=query) as page:
            page.evaluate(CLICK.format(0))
            _, given = program.wait(page)
        self.assertEqual((given["session"], given["name"]), (["7"], ["a&b"]))
        self.assertEqual(len(given["api_key"]), 1)
        self.assertNotIn("state", given)
        self.assert_key_opens(given["api_key"][0], "query")

    def test_without_a_callback_the_key_is_shown_once(self):
        with self.page(EthereumWallet(), query={"namespace": "shown"}) as page:
            page.evaluate(CLICK.format(0))
            page.until(visible("api-key"))
            key = page.evaluate("document.getElementById('api-key').value")
            self.assert_key_opens(key, "shown")
            page.evaluate("document.getElementById('copy').click()")
            page.until("document.getElementById('copied').textContent")
            page.screenshot("done-1280")
            page.open(self.login(namespace="shown"))
            self.assertNotIn(key, page.evaluate("document.documentElement.outerHTML"))

    def test_it_is_done_by_keyboard_alone(self):
        program = self.callback()
        with self.page(EthereumWallet(), SolanaWallet(), query={"callback": program.url}) as page:
            page.press("Tab")
            self.assertEqual(page.evaluate("document.activeElement.id"), "namespace")
            page.type("keys")
            page.press("Tab")
            page.press("Tab")
            self.assertIn("Ghost", page.evaluate("document.activeElement.innerText"))
            page.press("Enter")
            _, given = program.wait(page)
        self.assert_key_opens(given["api_key"][0], "keys")


class WhatIsRefused(LoginCase):
    def test_a_callback_elsewhere_is_refused_and_no_script_runs(self):
        for number, callback in enumerate([
            "https://evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://localhost.evil.example/",
            "//evil.example",
            "javascript:alert(1)",
            "http://localhost\\@evil.example/",
            "http://localhost/\"><script src=/v1/auth/login.js></script><img src=x onerror=alert(1)>",
            "",
        ]):
            with self.subTest(callback=callback):
                page = self.browser.page([EthereumWallet()])
                url = self.login(callback=callback)
                response = page.open(url)
                self.assertEqual(response["status"], 400)
                self.assertIn("not allowed", page.text())
                self.assertEqual(page.evaluate("document.scripts.length + document.images.length"), 0)
                self.assertEqual([name for name in page.requests if name.endswith(".js")], [])
                if callback:
                    self.assertNotIn(callback, page.evaluate("document.documentElement.outerHTML"))
                if number == 0:
                    page.screenshot("refused-1280")
                page.close()

    def test_two_callbacks_are_refused(self):
        page = self.browser.page()
        response = page.open(f"{self.login(callback='http://localhost:1/')}&callback=http://localhost:2/")
        self.assertEqual(response["status"], 400)
        page.close()

    def test_what_the_gateway_takes_for_this_computer_so_does_the_browser(self):
        page = self.browser.page()
        for callback, host in [
            ("http://localhost", "localhost"),
            ("http://localhost:8080?x=//evil.example", "localhost"),
            ("http://127.0.0.1:1/@evil.example", "127.0.0.1"),
            ("http://127.1.2.3/http://evil.example", "127.1.2.3"),
            ("http://[::1]:9/?y=1", "[::1]"),
        ]:
            with self.subTest(callback=callback):
                self.assertEqual(page.open(self.login(callback=callback))["status"], 200)
                self.assertEqual(page.evaluate(f"new URL({json.dumps(callback)}).hostname"), host)
                self.assertIn("on this computer", page.text())
        page.close()


class WhatGoesWrong(LoginCase):
    def problem(self, wallet, namespace="trouble", **options):
        with self.page(wallet, query={"namespace": namespace}, **options) as page:
            page.evaluate(CLICK.format(0))
            said = " ".join(page.until(PROBLEM).split())
            self.assertTrue(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))
            self.assertTrue(page.evaluate(visible("sign-in")), "one can try again at once")
            page.screenshot(f"problem-{self._testMethodName.removeprefix('test_')[:40]}")
        return said

    def test_who_says_no_is_told_that_nothing_was_signed(self):
        said = self.problem(EthereumWallet(mood="no"))
        self.assertIn("You said no in Fox", said)
        self.assertIn("Nothing was signed", said)
        self.assertIn("You said no in Ghost", self.problem(SolanaWallet(mood="no")))

    def test_a_namespace_of_somebody_else_is_named_with_what_to_do(self):
        owner, other = EthereumWallet(), EthereumWallet()
        status, told = make_key(self.gateway, owner, "taken")
        self.assertEqual(status, 200, told)
        said = self.problem(other, "taken", width=390, height=844)
        self.assertIn("“taken” is not open to this wallet", said)
        self.assertIn("Pick another name", said)
        self.assertIn(other.address, said)

    def test_a_signature_of_another_account_is_not_accepted(self):
        wallet = EthereumWallet()
        wallet.signing_key = EthereumWallet().key
        self.assertIn("The signature was not accepted", self.problem(wallet))

    def test_a_wallet_that_signs_another_text_is_found_out(self):
        self.assertIn("signed another text", self.problem(SolanaWallet(prefix=b"\xffsolana offchain"[1:])))

    def test_a_gateway_that_is_gone_is_said_to_be(self):
        with self.page(EthereumWallet(), query={"namespace": "gone"}) as page:
            page.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
            page.evaluate(CLICK.format(0))
            self.assertIn("does not answer", page.until(PROBLEM))

    def test_a_name_that_is_none_is_said_before_the_wallet_is_asked(self):
        wallet = EthereumWallet()
        for name, said in [("", "Say which namespace"), ("No Name", "Use a to z"), ("a" * 64, "Use a to z")]:
            with self.page(wallet, query={"namespace": name}) as page:
                page.evaluate(CLICK.format(0))
                self.assertIn(said, page.text())
                self.assertEqual(page.evaluate("document.activeElement.id"), "namespace")
        self.assertEqual(wallet.signed, [])

    def test_a_wallet_that_keeps_silent_can_be_left(self):
        silent, other = EthereumWallet("Silent", mood="silent"), EthereumWallet("Other")
        with self.page(silent, other, query={"namespace": "patient"}) as page:
            page.evaluate(CLICK.format(0))
            page.until(visible("start-over"))
            self.assertIn("Open Silent", page.text())
            page.screenshot("waiting-1280")
            page.evaluate("document.getElementById('start-over').click()")
            page.evaluate(CLICK.format(1))
            page.until(visible("api-key"))


class TooMany(LoginCase):
    def test_who_tried_too_often_is_told_how_long_to_wait(self):
        wallet = EthereumWallet()
        with self.page(wallet, query={"namespace": "often"}) as page:
            body = {"wallet": wallet.address, "namespace": "often", "purpose": "api_key_generation"}
            statuses = (call("POST", f"{self.gateway}/v1/auth/challenge", body)[0] for _ in range(1000))
            self.assertIn(429, statuses)
            page.evaluate(CLICK.format(0))
            self.assertRegex(page.until(PROBLEM), r"Wait (\d+ seconds|a moment), then sign in again")


class ThePage(LoginCase):
    def test_wallets_are_listed_once_and_by_what_they_say(self):
        markup = "<img src=x onerror=alert(1)>"
        wallets = [EthereumWallet(), EthereumWallet("Plain", kind="window.ethereum"), SolanaWallet(), EthereumWallet(markup)]
        with self.page(*wallets) as page:
            listed = page.evaluate("[...document.querySelectorAll('#wallets button')].map(b => b.innerText)")
            self.assertEqual([" ".join(line.split()) for line in listed], ["Fox Ethereum", f"{markup} Ethereum", "Ghost Solana"])
            page.evaluate("dispatchEvent(new Event('eip6963:requestProvider'))")
            self.assertEqual(page.evaluate(SHOWS_WALLETS), 3)

    def test_without_a_wallet_it_says_what_to_do_and_lists_one_that_comes_late(self):
        with self.page(EthereumWallet("Late", late=True)) as page:
            self.assertIn("No wallet was found", page.text())
            page.screenshot("no-wallet-1280")
            page.evaluate("letLateWalletCome()")
            page.until(SHOWS_WALLETS)
            self.assertNotIn("No wallet was found", page.text())

    def test_nothing_is_asked_of_another_origin(self):
        program = self.callback()
        spying = EthereumWallet("Spy", icon="https://tracker.example/pixel.png")
        query = {"callback": program.url, "namespace": "quiet"}
        with self.page(spying, SolanaWallet(), query=query) as page:
            page.evaluate(CLICK.format(0))
            program.wait(page)
            origins = {urllib.parse.urlsplit(url)[:2] for url in page.requests if not url.startswith("data:")}
        self.assertEqual(origins, {urllib.parse.urlsplit(url)[:2] for url in (self.gateway, program.url)})

    def test_its_policy_stops_scripts_that_got_into_it(self):
        with self.page(EthereumWallet()) as page:
            page.evaluate("""
              window.stopped = [];
              document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective));
              const script = document.createElement("script");
              script.textContent = "window.ran = true";
              const button = document.createElement("button");
              button.setAttribute("onclick", "window.ran = true");
              const image = document.createElement("img");
              image.src = "https://tracker.example/pixel.png";
              const frame = document.createElement("iframe");
              frame.src = "https://tracker.example/";
              const form = document.createElement("form");
              form.action = "https://tracker.example/";
              document.body.append(script, button, image, frame, form);
              button.click();
              form.submit();
              fetch("https://tracker.example/").catch(() => {});
            """)
            wanted = {"script-src-elem", "script-src-attr", "img-src", "frame-src", "form-action", "connect-src"}
            page.until(f"{json.dumps(sorted(wanted))}.every((name) => stopped.includes(name))")
            self.assertFalse(page.evaluate("window.ran"))

    def test_it_cannot_be_framed(self):
        page = self.browser.page()
        page.open(f"{self.gateway}/v1/auth/login?callback=none")
        headers = {name.lower(): value for name, value in page.responses[page.requests[0]]["headers"].items()}
        self.assertIn("frame-ancestors 'none'", headers["content-security-policy"])
        self.assertEqual(headers["cache-control"], "no-store")
        self.assertEqual(headers["x-content-type-options"], "nosniff")
        page.close()

    def test_it_fits_a_phone_and_a_desk_by_day_and_night(self):
        wallets = [EthereumWallet(), SolanaWallet(), EthereumWallet("A Wallet With A Rather Long Name", icon=None)]
        for width, height in [(390, 844), (1280, 900)]:
            for scheme in ["light", "dark"]:
                query = {"callback": "http://localhost:43210/callback", "namespace": "my-app"}
                with self.page(*wallets, query=query, width=width, height=height, scheme=scheme) as page:
                    self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), width)
                    page.screenshot(f"start-{width}-{scheme}")
                    page.evaluate("document.getElementById('namespace').value = '!'")
                    page.evaluate(CLICK.format(0))
                    page.screenshot(f"name-{width}-{scheme}")

    def test_every_state_fits_a_phone(self):
        with self.page(EthereumWallet(mood="silent"), query={"namespace": "n" * 63}, width=390, height=844) as page:
            fits = "document.documentElement.scrollWidth <= 390"
            page.evaluate(CLICK.format(0))
            page.until(visible("start-over"))
            page.evaluate("document.getElementById('text').hidden = false")
            page.evaluate("document.getElementById('message').textContent = 'URI: http://' + 'x'.repeat(200)")
            page.evaluate("document.getElementById('text').open = true")
            self.assertTrue(page.evaluate(fits))
            page.screenshot("waiting-390")
        with self.page(SolanaWallet(), query={"namespace": "m" * 63}, width=390, height=844) as page:
            page.evaluate(CLICK.format(0))
            page.until(visible("api-key"))
            self.assertTrue(page.evaluate(fits))
            page.screenshot("done-390")


if __name__ == "__main__":
    unittest.main()
