// rqlite-js, rqlite's JavaScript client, against three nodes.
//
// cluster.py starts them; they end when its standard input is closed.

const assert = require('node:assert/strict')
const { spawn } = require('node:child_process')
const { once } = require('node:events')
const path = require('node:path')
const readline = require('node:readline')
const { text } = require('node:stream/consumers')
const { after, before, test } = require('node:test')

const { BackupApiClient, DataApiClient } = require('rqlite-js')

let helper
let cluster

before(async () => {
  const python = process.env.PYTHON || 'python3'
  helper = spawn(python, [path.join(__dirname, 'cluster.py')], { stdio: ['pipe', 'pipe', 'inherit'] })
  const [line] = await once(readline.createInterface(helper.stdout), 'line')
  cluster = JSON.parse(line)
}, { timeout: 120_000 })

after(async () => {
  const ended = once(helper, 'exit')
  helper.stdin.end()
  const [code] = await ended
  assert.equal(code, 0)
}, { timeout: 60_000 })

const url = (number) => `http://${cluster.sql[number]}`
const leaderAndFollower = () => [new DataApiClient(url(0)), new DataApiClient(url(1))]

test('rows written through a follower are read everywhere', async () => {
  const [leader, follower] = leaderAndFollower()
  await leader.execute('CREATE TABLE everywhere (id INTEGER PRIMARY KEY, name TEXT)')
  const inserted = await follower.execute([['INSERT INTO everywhere(name) VALUES(?)', 'a'], ['INSERT INTO everywhere(name) VALUES(?)', 'b']])
  assert.equal(inserted.hasError(), false)
  assert.deepEqual(inserted.getResults().map((result) => result.getLastInsertId()), [1, 2])
  for (const client of [leader, follower]) {
    for (const level of ['weak', 'linearizable', 'strong']) {
      const found = await client.query('SELECT id, name FROM everywhere ORDER BY id', { level })
      assert.deepEqual(found.toArray(), [{ id: 1, name: 'a' }, { id: 2, name: 'b' }], level)
    }
  }
})

test('a list of hosts is asked in turn', async () => {
  const client = new DataApiClient(cluster.sql.map((address) => `http://${address}`))
  await client.execute('CREATE TABLE turns (id INTEGER PRIMARY KEY)')
  for (let id = 1; id <= 6; id += 1) {
    assert.equal((await client.execute([['INSERT INTO turns VALUES(?)', id]])).hasError(), false)
  }
  for (let round = 0; round < 6; round += 1) {
    const counted = await client.query('SELECT count(*) AS n FROM turns', { level: 'linearizable' })
    assert.equal(counted.get(0).get('n'), 6)
  }
})

test('a transaction is all or nothing', async () => {
  const [leader, follower] = leaderAndFollower()
  await leader.execute('CREATE TABLE whole (id INTEGER PRIMARY KEY)')
  const rows = [1, 2, 1].map((id) => [`INSERT INTO whole VALUES(?)`, id])
  const failed = await follower.execute(rows, { transaction: true })
  assert.match(failed.getFirstError().message, /UNIQUE constraint failed/)
  assert.equal((await leader.query('SELECT count(*) AS n FROM whole')).get(0).get('n'), 0)
  // Without it each statement stands for itself.
  assert.equal((await follower.execute(rows)).hasError(), true)
  assert.equal((await leader.query('SELECT count(*) AS n FROM whole')).get(0).get('n'), 2)
})

test('values come back as they went in', async () => {
  const [leader, follower] = leaderAndFollower()
  await leader.execute('CREATE TABLE kinds (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB, at DATETIME)')
  const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  const row = [1, Number.MAX_SAFE_INTEGER, 0.1, 'é 漢 🦀 "\'\n', [...bytes], '2024-02-29 23:59:59']
  await follower.execute([['INSERT INTO kinds VALUES(?, ?, ?, ?, ?, ?)', ...row], 'INSERT INTO kinds(id) VALUES(2)'])
  const [full, empty] = (await follower.query('SELECT * FROM kinds ORDER BY id')).toArray()
  assert.deepEqual([full.id, full.i, full.r, full.t], row.slice(0, 4))
  assert.deepEqual(Buffer.from(full.b, 'base64'), bytes)
  assert.equal(new Date(full.at).toISOString(), '2024-02-29T23:59:59.000Z')
  assert.deepEqual(empty, { id: 2, i: null, r: null, t: null, b: null, at: null })
})

test('an error is told by its words', async () => {
  for (const client of leaderAndFollower()) {
    assert.match((await client.query('SELECT x FROM nowhere')).getFirstError().message, /no such table: nowhere/)
    assert.match((await client.execute('SELEKT 1')).getFirstError().message, /syntax error/)
    assert.match((await client.execute('VACUUM')).getFirstError().message, /VACUUM/)
  }
})

test('credentials open their namespace and no other', async () => {
  const authentication = { username: cluster.namespace, password: cluster.key }
  const tenant = new DataApiClient(url(1), { authentication })
  assert.equal((await tenant.execute('CREATE TABLE mine (id INTEGER PRIMARY KEY)')).hasError(), false)
  const [leader] = leaderAndFollower()
  assert.match((await leader.query('SELECT * FROM mine')).getFirstError().message, /no such table/)
  const wrong = new DataApiClient(url(1), { authentication: { ...authentication, username: 'default' } })
  await assert.rejects(wrong.query('SELECT 1'), (error) => error.response.status === 401)
})

test('a backup holds every row, and a dump can be loaded', async () => {
  const [leader] = leaderAndFollower()
  await leader.execute(['CREATE TABLE kept (id INTEGER PRIMARY KEY)', 'INSERT INTO kept VALUES(41), (42)'])
  const backups = new BackupApiClient(url(1))
  const dump = await text(await backups.backup('sql'))
  assert.match(dump, /INSERT INTO "?kept"? VALUES\(42\)/)
  const file = Buffer.concat(await (await backups.backup()).toArray())
  assert.equal(file.subarray(0, 15).toString(), 'SQLite format 3')
  await text(await backups.load('CREATE TABLE loaded (id INTEGER);\nINSERT INTO loaded VALUES(7);\n'))
  assert.equal((await leader.query('SELECT id FROM loaded')).get(0).get('id'), 7)
})
