"""Backups and loads over plain HTTP, checked with Python's own SQLite, against three nodes."""

import json
import pathlib
import sqlite3
import tempfile
import unittest
import urllib.request
from base64 import b64encode

from cluster import Cluster

SCHEMA = """
CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB, at TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE INDEX item_at ON item(at);
CREATE VIEW named AS SELECT name FROM item WHERE name IS NOT NULL;
CREATE TRIGGER item_named AFTER INSERT ON item WHEN new.name IS NULL BEGIN
  UPDATE item SET name = 'item ' || new.id WHERE id = new.id;
END;
"""


def setUpModule():
    global cluster
    cluster = Cluster()
    unittest.addModuleCleanup(cluster.stop)


def content(connection):
    schema = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%' ORDER BY name")
    return schema.fetchall(), connection.execute("SELECT * FROM item ORDER BY id").fetchall()


class Backup(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)

    def ask(self, node, path, body=None, headers=(), namespace=None):
        headers = dict(headers)
        if namespace:
            headers["Authorization"] = "Basic " + b64encode(":".join(namespace).encode()).decode()
        request = urllib.request.Request(f"http://{node.sql_address}{path}", data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read()

    def execute(self, node, *statements, namespace=None):
        body = json.dumps(statements).encode()
        answer = json.loads(self.ask(node, "/db/execute", body, {"Content-Type": "application/json"}, namespace))
        self.assertFalse([result for result in answer["results"] if "error" in result], answer)

    def namespace(self, name):
        return (name, cluster.create_namespace(name))

    def open(self, database, name="backup.sqlite"):
        path = pathlib.Path(self.directory.name) / name
        path.write_bytes(database)
        connection = sqlite3.connect(path)
        self.addCleanup(connection.close)
        return connection

    def filled(self, name):
        namespace = self.namespace(name)
        for statement in SCHEMA.strip().split(";\n"):
            if not statement.startswith(("END", "CREATE TRIGGER")):
                self.execute(cluster.leader(), statement, namespace=namespace)
        trigger = SCHEMA[SCHEMA.index("CREATE TRIGGER") :]
        self.execute(cluster.leader(), trigger, namespace=namespace)
        rows = [["INSERT INTO item(body) VALUES(?)", list(range(number % 256))] for number in range(300)]
        self.execute(cluster.leader(), *rows, namespace=namespace)
        return namespace

    def test_a_backup_of_a_follower_has_every_acknowledged_write(self):
        namespace = self.filled("followed")
        for number in range(20):
            self.execute(cluster.leader(), f"INSERT INTO item(id) VALUES({1000 + number})", namespace=namespace)
            backup = self.open(self.ask(cluster.follower(), "/db/backup", namespace=namespace), f"{number}.sqlite")
            self.assertEqual(backup.execute("SELECT max(id) FROM item").fetchone(), (1000 + number,))
            self.assertEqual(backup.execute("PRAGMA integrity_check").fetchone(), ("ok",))

    def test_a_binary_backup_loaded_elsewhere_is_the_same_database(self):
        original, other = self.filled("original"), self.namespace("other")
        for options in ("", "?vacuum", "?fmt=delete"):
            database = self.ask(cluster.follower(), f"/db/backup{options}", namespace=original)
            headers = {"Content-Type": "application/octet-stream"}
            self.ask(cluster.follower(), "/db/load", database, headers, other)
            loaded = self.ask(cluster.leader(), "/db/backup", namespace=other)
            self.assertEqual(content(self.open(loaded, "b.sqlite")), content(self.open(database, "a.sqlite")), options)
            # It goes on as before: triggers fire, the next row is the next.
            self.execute(cluster.follower(), "INSERT INTO item(body) VALUES(x'00')", namespace=other)
            after = self.open(self.ask(cluster.leader(), "/db/backup", namespace=other), "c.sqlite")
            self.assertEqual(after.execute("SELECT name FROM item ORDER BY id DESC").fetchone(), ("item 301",))

    def test_a_dump_as_sql_loaded_elsewhere_is_the_same_database(self):
        original, other = self.filled("dumped"), self.namespace("restored")
        dump = self.ask(cluster.follower(), "/db/backup?fmt=sql", namespace=original)
        local = sqlite3.connect(":memory:")
        self.addCleanup(local.close)
        local.executescript(dump.decode())
        self.ask(cluster.follower(), "/db/load", dump, {"Content-Type": "text/plain"}, other)
        loaded = content(self.open(self.ask(cluster.leader(), "/db/backup", namespace=other)))
        self.assertEqual(loaded, content(local))

    def test_a_file_that_is_no_database_is_refused_and_nothing_changes(self):
        namespace = self.filled("kept")
        before = content(self.open(self.ask(cluster.leader(), "/db/backup", namespace=namespace), "before.sqlite"))
        headers = {"Content-Type": "application/octet-stream"}
        for rubbish in (b"SQLite format 3\0" + bytes(4080), b"\x00\x01\x02" * 100):
            answer = json.loads(self.ask(cluster.follower(), "/db/load", rubbish, headers, namespace))
            self.assertIn("error", answer["results"][0], answer)
        after = content(self.open(self.ask(cluster.leader(), "/db/backup", namespace=namespace), "after.sqlite"))
        self.assertEqual(after, before)


if __name__ == "__main__":
    unittest.main()
