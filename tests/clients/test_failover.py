"""What a client sees while nodes are killed: nothing acknowledged is lost, nothing happens twice."""

import http.client
import json
import threading
import time
import unittest

from cluster import Cluster, until

# An election takes less than two seconds; a busy machine several times that.
RECOVERY_SECONDS_MAX = 30


class Failover(unittest.TestCase):
    def setUp(self):
        self.cluster = Cluster()
        self.addCleanup(self.cluster.stop)

    def ask(self, node, path, body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", node.sql_port, timeout=20)
        try:
            headers = {"Content-Type": "application/json", **dict(headers)}
            connection.request("POST" if body else "GET", path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            text = answer.read()
            if answer.status != 200:
                raise OSError(f"{answer.status}: {text}")
            answer = json.loads(text)
            if "error" in answer:
                raise OSError(answer["error"])
            return answer["results"]
        finally:
            connection.close()

    def test_with_keys_each_write_happens_once_while_leaders_are_killed(self):
        nodes = self.cluster.nodes
        self.ask(nodes[0], "/db/execute", ["CREATE TABLE t (id INTEGER PRIMARY KEY, writer INTEGER, n INTEGER)"])
        stopped = threading.Event()
        written = [0, 0]

        def write(writer):
            number = 0
            while not stopped.is_set():
                for attempt in range(1000):
                    node = nodes[(writer + attempt) % len(nodes)]
                    statement = [["INSERT INTO t(writer, n) VALUES(?, ?)", writer, number]]
                    try:
                        (result,) = self.ask(node, "/db/execute", statement, {"Idempotency-Key": f"{writer}-{number}"})
                    except (OSError, http.client.HTTPException):
                        time.sleep(0.05)
                        continue
                    assert "error" not in result, result
                    break
                number += 1
                written[writer] = number

        writers = [threading.Thread(target=write, args=(writer,), daemon=True) for writer in range(len(written))]
        for writer in writers:
            writer.start()
        for _ in range(3):
            leader = self.cluster.leader()
            before = list(written)
            leader.kill()
            until(lambda: all(now > then for now, then in zip(written, before)), "writes go on", RECOVERY_SECONDS_MAX)
            leader.start("node")
            until(lambda: leader.status()["ready"], "the killed node serves again", RECOVERY_SECONDS_MAX)
        stopped.set()
        for writer in writers:
            writer.join(60)
            self.assertFalse(writer.is_alive())
        for node in nodes:
            (counted,) = self.ask(node, "/db/query?level=linearizable&q=SELECT%20writer,count(*),count(DISTINCT%20n)"
                                        "%20FROM%20t%20GROUP%20BY%20writer%20ORDER%20BY%20writer")
            self.assertEqual(counted["values"], [[writer, count, count] for writer, count in enumerate(written)])
        self.cluster.nodes[0].ask("cluster", "verify")

    def test_a_minority_answers_only_what_needs_no_quorum(self):
        survivor, *others = self.cluster.nodes
        self.ask(survivor, "/db/execute", ["CREATE TABLE t (id INTEGER PRIMARY KEY)", "INSERT INTO t VALUES(1)"])
        for node in others:
            until(lambda: self.ask(node, "/db/query?level=linearizable&q=SELECT%20id%20FROM%20t"), "replicated")
            node.kill()
        (rows,) = self.ask(survivor, "/db/query?level=none&q=SELECT%20id%20FROM%20t")
        self.assertEqual(rows["values"], [[1]])
        for path, body in (("/db/execute?timeout=8s", ["INSERT INTO t VALUES(2)"]), ("/db/query?level=linearizable&timeout=8s&q=SELECT%201", None)):
            with self.assertRaises(OSError):
                self.ask(survivor, path, body)
        for node in others:
            node.start("node")
        until(lambda: survivor.status()["ready"], "the cluster is whole again", RECOVERY_SECONDS_MAX)
        self.ask(survivor, "/db/execute", ["INSERT INTO t VALUES(3)"])


if __name__ == "__main__":
    unittest.main()
