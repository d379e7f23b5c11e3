"""pyrqlite, rqlite's Python client, against three nodes."""

import datetime
import logging
import unittest

from pyrqlite import dbapi2

from cluster import Cluster


def setUpModule():
    global cluster, acme_key
    # The client logs every error that it raises.
    logging.getLogger("pyrqlite").setLevel(logging.CRITICAL)
    cluster = Cluster()
    unittest.addModuleCleanup(cluster.stop)
    acme_key = cluster.create_namespace("acme")


def connect(node, **options):
    return dbapi2.connect(host="127.0.0.1", port=node.sql_port, timeout=30, **options)


class Pyrqlite(unittest.TestCase):
    def connect(self, node, **options):
        connection = connect(node, **options)
        self.addCleanup(connection.close)
        return connection

    def both(self, **options):
        return self.connect(cluster.leader(), **options), self.connect(cluster.follower(), **options)

    def fresh_table(self, columns):
        name = self.id().rpartition(".")[2]
        self.connect(cluster.leader()).execute(f"CREATE TABLE {name} ({columns})")
        return name

    def test_rows_written_through_a_follower_are_read_everywhere(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, name TEXT")
        leader, follower = self.both()
        for number, connection in enumerate((leader, follower), start=1):
            with connection.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table}(name) VALUES(?)", (f"name {number}",))
                self.assertEqual(cursor.lastrowid, number)
        for connection in (leader, follower):
            for level in ("weak", "linearizable", "strong", "auto"):
                cursor = connection.cursor()
                cursor.execute(f"SELECT id, name FROM {table} ORDER BY id", consistency=level)
                self.assertEqual(cursor.fetchall(), [(1, "name 1"), (2, "name 2")], level)
                self.assertEqual([column[0] for column in cursor.description], ["id", "name"])

    def test_every_kind_of_value_comes_back_as_it_went_in(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB")
        rows = [
            (1, 2**63 - 1, 1.5, "it's \"quoted\"; -- é 漢 🦀\n", bytes(range(256))),
            (2, -(2**63), -0.1, "", b""),
            (3, 2**53 + 1, 1e300, "?:x", b"\x00"),
            (4, None, None, None, None),
        ]
        _, follower = self.both()
        for row in rows:
            follower.execute(f"INSERT INTO {table} VALUES(?, ?, ?, ?, ?)", row)
        cursor = follower.execute(f"SELECT * FROM {table} ORDER BY id")
        self.assertEqual([tuple(row) for row in cursor.fetchall()], rows)

    def test_named_parameters(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, name TEXT")
        leader, _ = self.both()
        leader.execute(f"INSERT INTO {table} VALUES(:id, :name)", {"id": 7, "name": "seven"})
        row = leader.execute(f"SELECT name FROM {table} WHERE id = :id", {"id": 7}).fetchone()
        self.assertEqual(row["name"], "seven")

    def test_dates_and_times(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, d DATE, ts TIMESTAMP")
        _, follower = self.both(detect_types=dbapi2.PARSE_DECLTYPES)
        date, time = datetime.date(2024, 2, 29), datetime.datetime(1999, 12, 31, 23, 59, 59, 250000)
        follower.execute(f"INSERT INTO {table}(d, ts) VALUES(?, ?)", (date, time))
        row = follower.execute(f"SELECT d, ts FROM {table}").fetchone()
        self.assertEqual((row["d"], row["ts"]), (date, time))

    def test_the_clock_of_a_write_is_one_clock(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, at TEXT DEFAULT CURRENT_TIMESTAMP, chance INTEGER DEFAULT (random())")
        leader, follower = self.both()
        leader.execute(f"INSERT INTO {table} DEFAULT VALUES")
        index_free = f"SELECT at, chance FROM {table}"
        expected = leader.execute(index_free).fetchone()
        self.assertEqual(follower.execute(index_free, consistency="linearizable").fetchone(), expected)

    def test_executemany_is_one_transaction(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY")
        leader, follower = self.both()
        cursor = leader.cursor()
        cursor.executemany(f"INSERT INTO {table} VALUES(?)", [(number,) for number in range(100)])
        self.assertEqual(cursor.rowcount, 100)
        # The second row is there already, so the first must not stay either. The client tells no error here.
        follower.cursor().executemany(f"INSERT INTO {table} VALUES(?)", [(1000,), (5,)])
        self.assertEqual(leader.execute(f"SELECT count(*), max(id) FROM {table}").fetchone(), (100, 99))

    def test_changes_are_counted(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, name TEXT")
        _, follower = self.both()
        cursor = follower.cursor()
        cursor.executemany(f"INSERT INTO {table}(name) VALUES(?)", [("a",), ("b",), ("b",)])
        cursor.execute(f"UPDATE {table} SET name = 'c' WHERE name = 'b'")
        self.assertEqual(cursor.rowcount, 2)
        cursor.execute(f"DELETE FROM {table}")
        self.assertEqual(cursor.rowcount, 3)

    def test_errors_are_raised_with_sqlites_words(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY, name TEXT UNIQUE")
        for connection in self.both():
            connection.execute(f"INSERT OR IGNORE INTO {table}(name) VALUES('a')")
            for sql, words in (
                (f"INSERT INTO {table}(name) VALUES('a')", "UNIQUE constraint failed"),
                ("INSERT INTO nowhere VALUES(1)", "no such table: nowhere"),
                ("SELECT x FROM nowhere", "no such table: nowhere"),
                ("SELEKT 1", "syntax error"),
                ("BEGIN", "transaction"),
                ("ATTACH 'x.sqlite' AS x", "ATTACH is not allowed"),
            ):
                with self.assertRaises(dbapi2.Error, msg=sql) as raised:
                    connection.execute(sql)
                self.assertIn(words, str(raised.exception))

    def test_a_queued_write_with_wait_is_there_when_it_is_answered(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY")
        leader, follower = self.both()
        follower.execute(f"INSERT INTO {table} VALUES(1)", queue=True, wait=True)
        self.assertEqual(leader.execute(f"SELECT count(*) FROM {table}").fetchone(), (1,))

    def test_a_key_opens_its_namespace_and_no_other(self):
        table = self.fresh_table("id INTEGER PRIMARY KEY")
        for node in (cluster.leader(), cluster.follower()):
            tenant = self.connect(node, user="acme", password=acme_key)
            tenant.execute("CREATE TABLE IF NOT EXISTS secret (id INTEGER PRIMARY KEY)")
            tenant.execute("INSERT INTO secret DEFAULT VALUES")
            with self.assertRaisesRegex(dbapi2.Error, "no such table"):
                tenant.execute(f"SELECT * FROM {table}")
            with self.assertRaisesRegex(dbapi2.Error, "no such table"):
                self.connect(node).execute("SELECT * FROM secret")
            for user, password in (("default", acme_key), ("acme", "ak_wrong:acme"), ("acme", "")):
                with self.assertRaisesRegex(dbapi2.Error, "401"):
                    self.connect(node, user=user, password=password).execute("SELECT 1")


if __name__ == "__main__":
    unittest.main()
