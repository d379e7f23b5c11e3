"""Rows S: SQL from a tenant reaches the tenant's own tables and nothing else."""

import time
from concurrent.futures import ThreadPoolExecutor

from api import check, equal, want
from rows import row
from world import until

# How the gateway says that a statement is not one that tenants may run.
REFUSED = ("STATEMENT_REFUSED", "STATEMENT_FAILED", "INVALID_BODY")
LIMITED = ("STATEMENT_LIMIT", "STATEMENT_FAILED", "STATEMENT_REFUSED", "RESULT_TOO_LARGE", "DEADLINE_EXCEEDED")

# A debug build is several times slower than what is shipped.
BOMB_SECONDS_MAX = 3
MEMORY_GROWTH_MAX = 96 * 1024 * 1024


def shared_tenant(world):
    if not getattr(world, "sql_tenant", None):
        world.sql_tenant = world.tenant()
        want(world.sql_tenant.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, x)"), 200)
        want(world.sql_tenant.exec("INSERT INTO t(x) VALUES('row')"), 200)
    return world.sql_tenant


def every_way(tenant, sql):
    """The statement through each endpoint that takes one."""
    yield "query", tenant.query(sql)
    yield "exec", tenant.exec(sql)
    yield "transaction", tenant.call("POST", "/v1/db/transaction", {"statements": [sql]})
    yield "ops", tenant.call("POST", "/v1/db/transaction", {"ops": [{"kind": "query", "sql": sql}], "return_results": True})
    yield "create-table", tenant.call("POST", "/v1/rqlite/create-table", {"schema": sql})


def refused(tenant, sql, codes=REFUSED):
    for way, answer in every_way(tenant, sql):
        check(answer.status_code in (400, 403, 404, 422), f"{way} of {sql!r:.200}: {answer.status_code} {answer.text:.300}")
        want(answer, answer.status_code, code=codes + ("NO_SUCH_TABLE",))
        check("/db/" not in answer.text.replace("/v1/db/", "") and ".sqlite" not in answer.text.replace(sql, ""), f"{way} of {sql!r} names a file: {answer.text}")


def files(world):
    """Every file that the nodes keep, the logs of this run and journals excepted."""
    found = set()
    for process in world.processes():
        for path in process.directory.rglob("*"):
            found.add(str(path.relative_to(world.cluster.root)))
    return {name for name in found if not name.endswith(("-wal", "-shm", "-journal"))}


@row("S1")
def no_other_file_is_attached(world):
    tenant = shared_tenant(world)
    before = files(world)
    for sql in ("ATTACH 'x.sqlite' AS other", "ATTACH DATABASE ':memory:' AS m", "ATTACH '' AS m", "DETACH main", "ATTACH 'file:_accounts.sqlite?mode=ro' AS a",
                "ATTACH '../db/_accounts.sqlite' AS a", "/* */ attach /* */ 'y' as y", "EXPLAIN ATTACH 'z' AS z"):  # fmt: skip
        refused(tenant, sql)
    equal(files(world) - before, set(), "files that came to be")


@row("S2")
def nothing_is_written_beside_the_database(world):
    tenant = shared_tenant(world)
    before = files(world)
    for sql in ("VACUUM INTO '/tmp/debros-attack.sqlite'", "VACUUM INTO 'out.sqlite'", "VACUUM INTO ('o' || 'ut')", "VACUUM main INTO 'out'", "VACUUM"):
        refused(tenant, sql)
    equal(files(world) - before, set(), "files that came to be")
    with open("/proc/self/mounts") as _:
        import pathlib

        check(not pathlib.Path("/tmp/debros-attack.sqlite").exists(), "VACUUM INTO wrote a file")


@row("S3")
def pragmas_that_change_or_tell_of_the_machine_are_refused(world):
    tenant = shared_tenant(world)
    for name in ("journal_mode=DELETE", "synchronous=OFF", "writable_schema=ON", "temp_store_directory='/tmp'", "data_store_directory='/'",
                 "locking_mode=EXCLUSIVE", "max_page_count=1", "mmap_size=1000000", "cache_size=1000000", "trusted_schema=ON",
                 "schema_version=7", "wal_checkpoint(TRUNCATE)", "incremental_vacuum", "page_size=512", "auto_vacuum=1", "cell_size_check=0",
                 "recursive_triggers=ON", "foreign_keys=ON", "ignore_check_constraints=ON", "query_only=0", "hard_heap_limit=1", "soft_heap_limit=1",
                 "threads=8", "shrink_memory", "database_list", "optimize", "secure_delete=0", "encoding='UTF-16'", "main.journal_mode=OFF", "key='x'"):  # fmt: skip
        refused(tenant, f"PRAGMA {name}")
    for name in ("pragma_wal_checkpoint", "pragma_wal_checkpoint('main')", "pragma_optimize", "pragma_shrink_memory", "pragma_database_list"):
        refused(tenant, f"SELECT * FROM {name}")
    # What tools ask of a database is told.
    found = want(tenant.query("PRAGMA table_info(t)"), 200).json()
    equal([row[1] for row in found["rows"]], ["id", "x"])


@row("S4")
def functions_that_leave_the_database_do_not_exist(world):
    tenant = shared_tenant(world)
    for call in ("load_extension('x')", "load_extension('/lib/x86_64-linux-gnu/libc.so.6', 'system')", "fts3_tokenizer('simple')", "fts3_tokenizer('x', x'00')",
                 "readfile('/etc/passwd')", "writefile('/tmp/debros-attack', 'x')", "edit('x')", "shell('id')", "system('id')", "lsdir('/')",
                 "sqlite_log(1, 'x')", "zipfile('x')", "eval('SELECT 1')",
                 "sqlite3_db_config()", "sqlite_offset(id)", "unistr_quote(1, 2, 3)"):  # fmt: skip
        refused(tenant, f"SELECT {call} FROM t")
    for table in ("fsdir('/')", "csv", "generate_series_x(1)", "fsdir", "zipfile('x')", "completion('s')"):
        refused(tenant, f"SELECT * FROM {table}")
    for suffix in ("", "-attack"):
        import pathlib

        check(not pathlib.Path(f"/tmp/debros-attack{suffix}").exists(), "a file was written")


@row("S5")
def the_schema_is_only_changed_by_what_changes_schemas(world):
    tenant = shared_tenant(world)
    for sql in ("INSERT INTO sqlite_master VALUES('table','x','x',0,'CREATE TABLE x(a)')", "UPDATE sqlite_schema SET sql='x'", "DELETE FROM sqlite_master",
                "DELETE FROM sqlite_schema WHERE name='t'", "UPDATE main.sqlite_master SET rootpage=2", "DROP TABLE sqlite_master", "ALTER TABLE sqlite_master RENAME TO x",
                "INSERT INTO sqlite_temp_master VALUES(1,2,3,4,5)", "CREATE TABLE sqlite_mine(x)", "CREATE INDEX i ON sqlite_master(name)",
                "CREATE TRIGGER tr AFTER INSERT ON sqlite_master BEGIN SELECT 1; END", "DELETE FROM sqlite_sequence_x", "UPDATE sqlite_stat1 SET stat='x'"):  # fmt: skip
        refused(tenant, sql)
    equal(want(tenant.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])


@row("S6")
def a_statement_does_not_end_its_transaction(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE atomic(x UNIQUE)"), 200)
    for sql in ("BEGIN", "BEGIN IMMEDIATE", "COMMIT", "END", "END TRANSACTION", "ROLLBACK", "SAVEPOINT s", "RELEASE s", "RELEASE debros", "ROLLBACK TO s", "ROLLBACK TO entry",
                "/**/COMMIT", "\tcommit\n"):  # fmt: skip
        refused(tenant, sql)
        body = {"statements": ["INSERT INTO atomic VALUES('before')", sql, "INSERT INTO atomic VALUES('after')"]}
        want(tenant.call("POST", "/v1/db/transaction", body), 400, 403, 422)
    # Conflict clauses that would end it.
    want(tenant.exec("INSERT INTO atomic VALUES('there')"), 200)
    for word in ("ROLLBACK", "FAIL", "ABORT"):
        body = {"statements": ["INSERT INTO atomic VALUES('before')", f"INSERT OR {word} INTO atomic VALUES('there')", "INSERT INTO atomic VALUES('after')"]}
        want(tenant.call("POST", "/v1/db/transaction", body), 400, 409, 422)
    # The raise of a trigger.
    for action in ("ROLLBACK", "FAIL", "ABORT"):
        want(tenant.exec(f"CREATE TRIGGER raising_{action} BEFORE INSERT ON atomic WHEN NEW.x = '{action}' BEGIN SELECT RAISE({action}, 'no'); END"), 200)
        body = {"statements": ["INSERT INTO atomic VALUES('before')", f"INSERT INTO atomic VALUES('{action}')"]}
        want(tenant.call("POST", "/v1/db/transaction", body), 400, 409, 422)
    equal(want(tenant.query("SELECT x FROM atomic"), 200).json()["items"], [{"x": "there"}], "rows after all that")


@row("S7")
def one_statement_is_one(world):
    tenant = shared_tenant(world)
    for sql in ("SELECT 1; DROP TABLE t", "SELECT 1;DELETE FROM t", "SELECT 1; -- x\nDELETE FROM t", "SELECT ';'; DELETE FROM t", "SELECT 1 /* ; */; DELETE FROM t",
                "SELECT \";\"; DELETE FROM t", "SELECT [;]; DELETE FROM t", "SELECT `;`; DELETE FROM t", "SELECT 1;;;DELETE FROM t", "SELECT 1;\ufeffDELETE FROM t",
                "SELECT $$;$$; DELETE FROM t", "SELECT 1;\0DELETE FROM t", "SELECT 1\0; DELETE FROM t", "\ufeffSELECT 1; DELETE FROM t", "", ";", " ", "-- x", "/* x", "/* x */",
                "CREATE TRIGGER two AFTER INSERT ON t BEGIN SELECT 1; END; DELETE FROM t", "EXPLAIN SELECT 1; DELETE FROM t", "\0", "SELECT '"):  # fmt: skip
        for path in ("query", "exec", "create-table"):
            body = {"schema": sql} if path == "create-table" else {"sql": sql}
            answer = tenant.call("POST", f"/v1/db/{path}", body)
            check(answer.status_code in (400, 403, 422), f"{path} of {sql!r}: {answer.status_code} {answer.text}")
    equal(want(tenant.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])
    # A semicolon at the end is no second statement, and a query does not write.
    for sql in ("SELECT 1;", "SELECT 1 ; -- end", "SELECT ';' AS x", "SELECT 1; /* end */"):
        want(tenant.query(sql), 200)
    for sql in ("DELETE FROM t", "INSERT INTO t(x) VALUES(1)", "INSERT INTO t(x) VALUES(1) RETURNING id", "WITH c AS (SELECT 1) DELETE FROM t", "DROP TABLE t",
                "CREATE TABLE u(x)", "REPLACE INTO t VALUES(1,1)", "ANALYZE", "REINDEX"):  # fmt: skip
        want(tenant.query(sql), 400, 403, 422)
    equal(want(tenant.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])


ENDLESS = [
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 3000) SELECT count(*) FROM c a, c b, c d, c e, c f",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) SELECT count(*) FROM c a WHERE (SELECT count(*) FROM c b WHERE b.n < a.n) > 1000000",
]


@row("S8")
def a_statement_without_end_is_cut_while_others_are_served(world):
    loud, quiet = shared_tenant(world), world.tenant()

    def endless(sql, way):
        started = time.monotonic()
        answer = loud.query(sql) if way == "query" else loud.exec(f"CREATE TABLE endless_{abs(hash(sql))} AS {sql}")
        return sql, way, answer, time.monotonic() - started

    def meanwhile(*asked):
        """Starts the statements, and what the other tenant waits for an answer in the middle."""
        with ThreadPoolExecutor(len(asked)) as pool:
            running = [pool.submit(endless, *one) for one in asked]
            taken = []
            while not all(task.done() for task in running):
                started = time.monotonic()
                want(quiet.value("absent"), 404)
                taken.append(time.monotonic() - started)
        for task in running:
            sql, way, answer, seconds = task.result()
            want(answer, 422, 503, 504, code=("STATEMENT_LIMIT", "DEADLINE_EXCEEDED"))
            check(seconds < 25, f"{way} of {sql}: {seconds:.1f} s")
        return sorted(taken)[len(taken) // 2]

    waited = meanwhile(*((sql, "query") for sql in ENDLESS))
    check(waited < 1, f"the other tenant waited {waited:.1f} s beside reads")
    # A write is applied alone; its two seconds of work are several in a debug build on a busy machine.
    waited = meanwhile((ENDLESS[0], "exec"))
    check(waited < 10, f"the other tenant waited {waited:.1f} s behind a write")
    want(quiet.put("still"), 201)


BOMBS = [
    "SELECT zeroblob(900000000)", "SELECT length(zeroblob(900000000))", "SELECT randomblob(900000000)", "SELECT hex(zeroblob(400000000))",
    "SELECT printf('%.*c', 800000000, 'x')", "SELECT format('%900000000s', 'x')", "SELECT printf('%*d', 900000000, 1)", "SELECT printf('%.900000000f', 1.0)",
    "SELECT replace(hex(zeroblob(5000000)), '0', 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')",
    "WITH RECURSIVE d(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM d LIMIT 40) SELECT max(length(x)) FROM d",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) SELECT length(group_concat(hex(zeroblob(10000)))) FROM c",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000) SELECT length(json_group_array(hex(zeroblob(10000)))) FROM c",
    "SELECT quote(zeroblob(400000000))", "SELECT CAST(zeroblob(900000000) AS TEXT)", "SELECT substr(zeroblob(900000000), 1, 900000000)",
    "SELECT concat_ws(zeroblob(100000000), 1, 2, 3, 4, 5, 6, 7, 8, 9)", "SELECT unhex(hex(zeroblob(300000000)))", "SELECT json(zeroblob(500000000))",
]  # fmt: skip


def resident(world):
    """The most memory that each node has had so far: what a statement took and gave back counts."""
    found = []
    for node in world.cluster.nodes:
        with open(f"/proc/{node.process.pid}/status") as status:
            found.append(next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM")))
    return found


@row("S9")
def a_value_does_not_grow_without_bound(world):
    tenant = shared_tenant(world)
    want(tenant.query("SELECT 1"), 200)
    for sql in BOMBS:
        for way in (tenant.query, lambda sql: tenant.exec(f"INSERT INTO t(x) {sql}")):
            before, started = resident(world), time.monotonic()
            want(way(sql), 400, 422, code=LIMITED)
            taken = time.monotonic() - started
            growth = max(after - first for first, after in zip(before, resident(world)))
            check(growth < MEMORY_GROWTH_MAX, f"{sql} took {growth >> 20} MiB of a node")
            check(taken < BOMB_SECONDS_MAX, f"{sql}: {taken:.1f} s")
    equal(want(tenant.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])


@row("S10")
def a_statement_has_bounds(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE VIRTUAL TABLE found USING fts5(x)"), 200)
    for name, sql in {
        "depth": "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "sum": "SELECT " + "+".join(["1"] * 5000),
        "negations": "SELECT " + "-" * 0 + "NOT " * 5000 + "1",
        "compound": " UNION ALL ".join(["SELECT 1"] * 10_000),
        "columns": f"CREATE TABLE wide({', '.join(f'c{n}' for n in range(2_001))})",
        "text": "SELECT '" + "x" * 2_000_000 + "'",
        "joins": "SELECT 1 FROM " + ", ".join(f"t t{n}" for n in range(65)),
        "like": f"SELECT '{'a' * 50_000}' LIKE '{'%a' * 20_000}b'",
        "glob": f"SELECT '{'a' * 50_000}' GLOB '{'*a' * 20_000}b'",
        "escaped": f"SELECT '{'a' * 50_000}' LIKE '{'%a' * 20_000}b' ESCAPE '!'",
        "parentheses of a search": f"SELECT 1 FROM found WHERE found MATCH '{'(' * 20_000}a{')' * 20_000}'",
        "terms of a search": f"SELECT 1 FROM found WHERE found MATCH '{'a NOT ' * 20_000}a'",
        "JSON": f"SELECT json('{'[' * 200_000}{']' * 200_000}')",
        "JSON path": f"SELECT json_extract('[]', '${'[0]' * 100_000}')",
        "variable": "SELECT ?999999",
        "case": "SELECT CASE " + "WHEN 1 THEN 1 " * 40_000 + "END",
        "cte": "WITH " + ", ".join(f"a{n} AS (SELECT * FROM a{n - 1}, a{n - 1})" if n else "a0 AS (SELECT 1)" for n in range(30)) + " SELECT count(*) FROM a29",
    }.items():  # fmt: skip
        # As a read and as an entry of the log: what ends a node there ends it again whenever it starts.
        for way in (tenant.query, tenant.exec):
            started = time.monotonic()
            answer = way(sql)
            allowed = (200, 400, 413, 422) if name in ("case", "JSON path", "JSON") else (400, 413, 422)
            check(answer.status_code in allowed, f"{name}: {answer.status_code} {answer.text:.200}")
            check(time.monotonic() - started < 15, f"{name}: {answer.status_code} after {time.monotonic() - started:.1f} s")
    placeholders = ", ".join(["?"] * 40_000)
    want(tenant.query(f"SELECT 1 WHERE 1 IN ({placeholders})", *range(40_000)), 400, 422)
    want(tenant.query("SELECT ?", 1, 2, 3), 200, 400)
    want(tenant.query("SELECT ?, ?", 1), 200, 400)
    want(tenant.call("POST", "/v1/db/transaction", {"statements": ["SELECT 1"] * 10_001}), 400, 413, 422)


@row("S11")
def a_result_has_bounds(world):
    tenant = shared_tenant(world)
    rows = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 10000000) SELECT "
    before = resident(world)
    want(tenant.query(rows + "n FROM c"), 413, 422, code=("RESULT_TOO_LARGE", "STATEMENT_LIMIT"))
    want(tenant.query(rows + "hex(zeroblob(100000)) FROM c"), 413, 422, code=("RESULT_TOO_LARGE", "STATEMENT_LIMIT"))
    wide = ", ".join(["zeroblob(9000000)"] * 10)
    want(tenant.query(f"SELECT {wide}"), 413, 422, code=("RESULT_TOO_LARGE", "STATEMENT_LIMIT"))
    growth = max(after - first for first, after in zip(before, resident(world)))
    check(growth < 256 * 1024 * 1024, f"a node grew by {growth >> 20} MiB")


@row("S12")
def tables_that_look_into_the_engine_are_refused(world):
    tenant = shared_tenant(world)
    for sql in ("SELECT * FROM dbstat", "SELECT * FROM sqlite_dbpage", "SELECT * FROM sqlite_stmt", "SELECT * FROM bytecode('SELECT 1')", "SELECT * FROM tables_used('SELECT 1')",
                "CREATE VIRTUAL TABLE v USING dbstat", "CREATE VIRTUAL TABLE v USING csv(filename='/etc/passwd')",
                "CREATE VIRTUAL TABLE v USING sqlite_dbpage", "CREATE VIRTUAL TABLE v USING zipfile('x')", "CREATE VIRTUAL TABLE v USING fsdir",
                "CREATE TEMP TABLE x(a)", "CREATE TEMP TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END", "CREATE TEMP VIEW v AS SELECT 1", "CREATE TABLE temp.x(a)", "CREATE TABLE temp.x AS SELECT 1", "CREATE VIEW temp.v AS SELECT 1",
                "CREATE TRIGGER temp.tr AFTER INSERT ON main.t BEGIN SELECT 1; END", "CREATE VIRTUAL TABLE temp.v USING fts5(x)", "CREATE INDEX temp.i ON t(x)",
                "DELETE FROM temp.sqlite_master"):  # fmt: skip
        refused(tenant, sql)


@row("S13")
def what_is_refused_is_refused_in_every_disguise(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE loop(x)"), 200)
    for sql in ("CREATE TRIGGER bad AFTER INSERT ON t BEGIN SELECT load_extension('x'); END", "CREATE VIEW bad AS SELECT readfile('/etc/passwd')",
                "CREATE TABLE bad(x, y AS (load_extension(x)))", "CREATE INDEX bad ON t(load_extension(x))", "CREATE TABLE bad(x DEFAULT (readfile('/etc/passwd')))",
                "CREATE TABLE bad(x CHECK (fts3_tokenizer(x)))", "CREATE INDEX bad ON t(random())", "CREATE TABLE bad(x, y AS (random()) STORED)"):  # fmt: skip
        for way in (tenant.exec,):
            answer = way(sql)
            if answer.status_code == 200:
                # SQLite resolves a function when it is used; then it must be refused.
                used = [tenant.query("SELECT * FROM bad"), tenant.exec("INSERT INTO t(x) VALUES('again')"), tenant.exec("INSERT INTO bad DEFAULT VALUES")]
                check(any(found.status_code in (400, 403, 404, 422) for found in used), f"{sql} works")
                for kind in ("TRIGGER", "VIEW", "TABLE", "INDEX"):
                    tenant.exec(f"DROP {kind} IF EXISTS bad")
            else:
                want(answer, 400, 403, 422)
    # A trigger that calls itself, and one that never gets done.
    want(tenant.exec("CREATE TRIGGER again AFTER INSERT ON loop WHEN NEW.x < 1000000 BEGIN INSERT INTO loop VALUES(NEW.x + 1); END"), 200)
    answer = tenant.exec("INSERT INTO loop VALUES(1)")
    check(answer.status_code in (200, 400, 422), f"a recursive trigger: {answer.status_code} {answer.text}")
    want(tenant.exec("DROP TABLE loop"), 200)
    want(tenant.exec("CREATE VIEW circle AS SELECT * FROM circle"), 200, 400)
    want(tenant.query("SELECT * FROM circle"), 400, 404, 422)
    shown = want(tenant.api().get("/v1/db/schema", key=tenant.key), 200).json()["tables"]
    check(any(table["columns"] for table in shown) and {"name": "circle", "columns": []}.items() <= next(table for table in shown if table["name"] == "circle").items(), f"the schema beside a broken view: {shown}")
    want(tenant.exec("DROP VIEW IF EXISTS circle"), 200)


@row("S14")
def the_tables_of_the_system_are_elsewhere(world):
    tenant = shared_tenant(world)
    tenant.put("kv-key", b"kv value")
    for table in ("nonces", "sessions", "refresh_tokens", "api_keys", "signing_keys", "namespaces", "members", "apps", "audit_events", "schema_migrations", "kv",
                  "kv_storage", "main.nonces", "_accounts.nonces", "accounts.api_keys", "_system.namespaces", "temp.nonces", "sqlite_debros_kv",
                  "main.sqlite_debros_kv", '"sqlite_debros_kv"', "sqlite_debros_meta", "sqlite_debros_changes", "sqlite_debros_idempotency"):  # fmt: skip
        for sql in (f"SELECT * FROM {table}", f"DELETE FROM {table}", f"DROP TABLE {table}", f"CREATE VIEW spy AS SELECT * FROM {table}; ",
                    f"CREATE TABLE copy AS SELECT * FROM {table}", f"ALTER TABLE {table} ADD COLUMN x", f"CREATE TRIGGER spy AFTER INSERT ON {table} BEGIN SELECT 1; END"):  # fmt: skip
            answer = tenant.exec(sql)
            if answer.status_code == 200:
                # A view is only looked into when it is used.
                check(sql.startswith("CREATE VIEW"), f"{sql}: {answer.text}")
                want(tenant.query("SELECT * FROM spy"), 400, 403, 404, 422)
                want(tenant.exec("DROP VIEW spy"), 200)
        want(tenant.query(f"SELECT * FROM {table}"), 400, 403, 404, 422)
    schema = want(tenant.call("GET", "/v1/db/schema"), 200).text
    check("sqlite_debros" not in schema and "nonces" not in schema, f"the schema shows {schema}")
    # The schema table must not be a way around it: what is the system's is at most named there.
    found = want(tenant.query("SELECT name, sql FROM sqlite_schema"), 200, 403, 422).text
    check("kv value" not in found, "a value in the schema")
    for body in ({"table": "sqlite_debros_kv"}, {"table": "sqlite_schema", "select": ["sql"]}, {"table": "main.sqlite_debros_kv"}):
        check("kv value" not in tenant.call("POST", "/v1/db/find", body).text, f"find {body}")
    want(tenant.call("POST", "/v1/db/drop-table", {"table": "sqlite_debros_kv"}), 400, 403, 404, 422)
    equal(want(tenant.value("kv-key"), 200).content, b"kv value")


def verified(world):
    """Replicas hold the same bytes, by the operator's own comparison."""
    until(lambda: "differ" not in world.cluster.nodes[0].ask("cluster", "verify"), "the replicas are alike", 60)


@row("S15")
def chance_and_time_are_the_same_on_every_replica(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE chance(id INTEGER PRIMARY KEY, a, b, c, d DEFAULT CURRENT_TIMESTAMP, e, f)"), 200)
    insert = "INSERT INTO chance(a, b, c, e, f) SELECT random(), hex(randomblob(16)), strftime('%Y-%m-%d %H:%M:%f', 'now'), changes(), last_insert_rowid() FROM (SELECT 1 UNION SELECT 2 UNION SELECT 3)"
    for _ in range(10):
        found = tenant.exec(insert)
        if found.status_code != 200:
            # changes() and last_insert_rowid() may be refused instead.
            want(found, 400, 403, 422)
            insert = "INSERT INTO chance(a, b, c) SELECT random(), hex(randomblob(16)), strftime('%Y-%m-%d %H:%M:%f', 'now') FROM (SELECT 1 UNION SELECT 2)"
    for sql in ("UPDATE chance SET a = abs(random()) % 100 WHERE id % 2", "INSERT INTO chance(a) VALUES(julianday('now', 'localtime'))",
                "INSERT INTO chance(a) SELECT unixepoch('subsec')", "CREATE TABLE copied AS SELECT * FROM chance ORDER BY random()"):  # fmt: skip
        want(tenant.exec(sql), 200, 400, 403, 422)
    rows = [
        want(tenant.call("POST", "/v1/db/query?level=none", {"sql": "SELECT * FROM chance ORDER BY id"}), 200).json()["rows"] for _ in range(1)
    ]
    for number in range(3):
        api = world.api(number)
        until(
            lambda: want(api.post("/v1/db/query?level=none", {"sql": "SELECT * FROM chance ORDER BY id"}, key=tenant.key), 200).json()["rows"] == rows[0],
            f"node {number + 1} has the same rows",
            10,
        )
    check(len({row[1] for row in rows[0]}) > 5, "chance is chance")
    verified(world)


@row("S16")
def order_and_numbers_that_are_not_told_are_the_same_everywhere(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE heap(a, b)"), 200)
    fill = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000) INSERT INTO heap SELECT n * 7919 % 2003, random() FROM c"
    want(tenant.exec(fill), 200)
    want(tenant.exec("CREATE INDEX heap_a ON heap(a)"), 200)
    want(tenant.exec("CREATE TABLE picked(a, b)"), 200)
    for sql in ("INSERT INTO picked SELECT a, b FROM heap LIMIT 50", "INSERT INTO picked SELECT a, b FROM heap WHERE a > 100 LIMIT 50", "DELETE FROM heap WHERE rowid IN (SELECT rowid FROM heap LIMIT 10)",
                "INSERT INTO picked VALUES(9e999 - 9e999, -9e999), (1e308 * 10, 0.1 + 0.2)", "INSERT INTO picked SELECT group_concat(a), sum(b * 0.1) FROM heap",
                "INSERT INTO picked SELECT upper('äß'), 'a' < 'B'", "INSERT INTO picked SELECT DISTINCT a % 10, total(b) FROM heap GROUP BY 1", "UPDATE picked SET a = a || '' WHERE rowid % 3 = 0"):  # fmt: skip
        want(tenant.exec(sql), 200, 400, 422)
    verified(world)


@row("S17")
def a_write_that_is_cut_is_cut_alike_everywhere(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE cut(n)"), 200)
    long = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 100000000) INSERT INTO cut SELECT n FROM c"
    want(tenant.call("POST", "/v1/db/exec?timeout=1s", {"sql": long}), 422, 504)
    body = {"statements": ["INSERT INTO cut VALUES('before')", ENDLESS[0].replace("SELECT count", "INSERT INTO cut SELECT count"), "INSERT INTO cut VALUES('after')"]}
    want(tenant.call("POST", "/v1/db/transaction", body), 422, 504)
    for number in range(3):
        api = world.api(number)
        found = lambda: want(api.post("/v1/db/query?level=linearizable", {"sql": "SELECT count(*) AS n FROM cut"}, key=tenant.key), 200).json()["items"] == [{"n": 0}]
        until(found, "nothing of it is left", 60)
    verified(world)


@row("S18")
def a_long_read_does_not_hold_up_writes(world):
    tenant = shared_tenant(world)
    want(tenant.exec("CREATE TABLE held(x)"), 200)
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(tenant.query, ENDLESS[0]) for _ in range(2)]
        written = 0
        while not all(task.done() for task in reading) and written < 200:
            want(tenant.exec("INSERT INTO held VALUES(zeroblob(100000))"), 200)
            written += 1
        for task in reading:
            want(task.result(), 422, 503, 504)
    check(written > 5, f"{written} writes during two long reads")
    largest = max(path.stat().st_size for path in world.cluster.root.rglob(f"{tenant.namespace}.sqlite-wal"))
    check(largest < 256 * 1024 * 1024, f"a write-ahead log of {largest >> 20} MiB")


@row("S19")
def parameters_are_bound_and_names_are_quoted(world):
    tenant = world.tenant()
    want(tenant.exec("CREATE TABLE t(id INTEGER PRIMARY KEY, x)"), 200)
    want(tenant.exec("INSERT INTO t(x) VALUES('row')"), 200)
    evil = ["t; DROP TABLE t", "t--", "t WHERE 1=1", "(SELECT 1)", "t) UNION SELECT 1--", 't"; DROP TABLE t; --', "t\0", "' OR '1'='1", "t/**/", "t,t t2"]
    for text in evil:
        for path in ("find", "find-one", "select"):
            want(tenant.call("POST", f"/v1/db/{path}", {"table": text}), 400, 403, 404, 422)
            for member, value in (("order_by", [text]), ("group_by", [text]), ("select", [text]), ("criteria", {text: 1}), ("limit", text), ("offset", text), ("alias", text)):
                answer = tenant.call("POST", f"/v1/db/{path}", {"table": "t", member: value})
                # `alias` and `criteria` are not members of each; what is unknown is not looked at.
                check(answer.status_code in (400, 403, 404, 422) or member in ("alias", "criteria") and answer.status_code == 200, f"{path} {member} {text!r}: {answer.status_code} {answer.text}")
            for join in ({"kind": text, "table": "t", "on": "1"}, {"kind": "LEFT", "table": text, "on": "1"}):
                want(tenant.call("POST", f"/v1/db/{path}", {"table": "t", "joins": [join]}), 400, 403, 404, 422)
        answer = tenant.call("POST", "/v1/db/drop-table", {"table": text})
        check(answer.status_code in (400, 403, 404, 422), f"drop-table {text!r}: {answer.status_code}")
        equal(want(tenant.call("POST", "/v1/db/find", {"table": "t", "criteria": {"x": text}}), 200).json()["count"], 0)
        equal(want(tenant.query("SELECT ? AS x", text), 200).json()["items"], [{"x": text}])
    # A condition stays within its parentheses.
    for expression in ("1) OR (1", "1); DROP TABLE t", "1 -- ", "1 /* ", "1)) UNION SELECT 1, 2 --", "x = 'row' LIMIT 1", "(1", "1)", "'", '"', ""):
        where = [{"expr": "x = ?", "args": ["absent"]}, {"conj": "AND", "expr": expression}]
        answer = tenant.call("POST", "/v1/db/select", {"table": "t", "where": where})
        check(answer.status_code in (400, 422), f"{expression!r}: {answer.status_code} {answer.text}")
    for conj in ("OR 1=1 OR", "UNION", ") OR (", "NOT"):
        where = [{"expr": "x = ?", "args": ["absent"]}, {"conj": conj, "expr": "1"}]
        want(tenant.call("POST", "/v1/db/select", {"table": "t", "where": where}), 400)
    equal(want(tenant.query("SELECT count(*) AS n FROM t"), 200).json()["items"], [{"n": 1}])
