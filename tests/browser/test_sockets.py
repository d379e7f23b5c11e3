"""Sockets opened by a page of another origin, in a real browser, against a real gateway."""

import http.server
import json
import threading
import unittest

from chromium import Browser
from cluster import Cluster
from wallets import call

# What the page does; every promise ends, one way or the other.
SCRIPT = """
const base64url = (text) => btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

// Subscribes, publishes, and tells what came; or that the socket was refused.
function converse(url, protocols) {
  return new Promise((resolve) => {
    const socket = new WebSocket(url, protocols);
    const frames = [];
    let opened = false;
    socket.onopen = () => {
      opened = true;
      socket.send(JSON.stringify({ type: "subscribe", id: 1, topic: "room" }));
    };
    socket.onmessage = ({ data }) => {
      const frame = JSON.parse(data);
      frames.push(frame);
      if (frame.type === "subscribed") {
        socket.send(JSON.stringify({ type: "publish", id: 2, topic: "room", data: "hello" }));
      }
      if (["message", "published"].every((type) => frames.some((frame) => frame.type === type))) {
        socket.close(1000);
      }
    };
    socket.onclose = ({ code }) => resolve({ opened, code, protocol: socket.protocol, frames });
  });
}

async function makeTicket(gateway, key) {
  const made = await fetch(`${gateway}/v1/auth/ws-ticket`, { method: "POST", headers: { "X-API-Key": key } });
  return (await made.json()).ticket;
}

// Whether a stream of events begins.
function streams(url) {
  return new Promise((resolve) => {
    const events = new EventSource(url);
    const end = (began) => {
      events.close();
      resolve(began);
    };
    events.addEventListener("ready", () => end(true));
    events.onerror = () => end(false);
  });
}
"""


class PageServer:
    """An origin of its own that serves one page."""

    def __init__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!doctype html><title>app</title><script>{SCRIPT}</script>".encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class Sockets(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.listed, cls.stranger = PageServer(), PageServer()
        cls.addClassCleanup(cls.listed.close)
        cls.addClassCleanup(cls.stranger.close)
        settings = {"DEBROS_GATEWAY__ALLOWED_ORIGINS": cls.listed.origin}
        cls.cluster = Cluster(nodes=1, settings=settings)
        cls.addClassCleanup(cls.cluster.stop)
        cls.gateway = f"http://{cls.cluster.nodes[0].gateway_address}"
        cls.socket = f"ws://{cls.cluster.nodes[0].gateway_address}/v1/pubsub/ws"
        cls.key = cls.cluster.create_namespace("club")
        cls.browser = Browser()
        cls.addClassCleanup(cls.browser.close)

    def page(self, origin):
        page = self.browser.page()
        self.addCleanup(page.close)
        page.open(f"{origin}/")
        return page

    def converse(self, page, query="", protocols='["debros.v1"]'):
        return page.evaluate(f"converse({json.dumps(self.socket + query)}, {protocols})")

    def with_key(self):
        return f'["debros.v1", "debros.bearer." + base64url({json.dumps(self.key)})]'

    def ticket(self):
        status, made = call("POST", f"{self.gateway}/v1/auth/ws-ticket", headers={"X-API-Key": self.key})
        self.assertEqual(status, 200, made)
        return made["ticket"]

    def assert_conversed(self, told):
        self.assertTrue(told["opened"], told)
        self.assertEqual(told["protocol"], "debros.v1", told)
        message = next(frame for frame in told["frames"] if frame["type"] == "message")
        self.assertEqual((message["topic"], message["data_base64"]), ("room", "aGVsbG8="))
        published = next(frame for frame in told["frames"] if frame["type"] == "published")
        self.assertEqual((published["id"], published["message_id"]), (2, message["message_id"]))

    def assert_refused(self, told):
        self.assertEqual((told["opened"], told["code"], told["frames"]), (False, 1006, []), told)

    def test_a_listed_page_talks_with_its_key_as_a_subprotocol(self):
        page = self.page(self.listed.origin)
        self.assert_conversed(self.converse(page, protocols=self.with_key()))
        self.assertEqual(page.exceptions, [])

    def test_a_listed_page_fetches_a_ticket_and_talks_with_it_once(self):
        page = self.page(self.listed.origin)
        ticket = page.evaluate(f"makeTicket({json.dumps(self.gateway)}, {json.dumps(self.key)})")
        self.assert_conversed(self.converse(page, f"?ticket={ticket}"))
        self.assert_refused(self.converse(page, f"?ticket={ticket}"))
        stream = f"{self.gateway}/v1/pubsub/sse?topic=room&ticket={self.ticket()}"
        self.assertTrue(page.evaluate(f"streams({json.dumps(stream)})"))
        self.assertFalse(page.evaluate(f"streams({json.dumps(stream)})"))
        self.assertEqual(page.exceptions, [])

    def test_without_a_credential_it_is_refused(self):
        page = self.page(self.listed.origin)
        self.assert_refused(self.converse(page))
        self.assert_refused(self.converse(page, protocols='["debros.v1", "debros.bearer." + base64url("wrong")]'))

    def test_a_page_of_an_origin_that_is_not_listed_is_refused_whatever_it_has(self):
        page = self.page(self.stranger.origin)
        self.assert_refused(self.converse(page, protocols=self.with_key()))
        self.assert_refused(self.converse(page, f"?ticket={self.ticket()}"))
        stream = f"{self.gateway}/v1/pubsub/sse?topic=room&ticket={self.ticket()}"
        self.assertFalse(page.evaluate(f"streams({json.dumps(stream)})"))


if __name__ == "__main__":
    unittest.main()
