// Package gorqlite_test: rqlite's Go client, also under database/sql, against three nodes.
//
// cluster.py starts them; they end when its standard input is closed.
package gorqlite_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rqlite/gorqlite"
	_ "github.com/rqlite/gorqlite/stdlib"
)

var cluster struct {
	SQL       []string `json:"sql"`
	Namespace string   `json:"namespace"`
	Key       string   `json:"key"`
}

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	python := os.Getenv("PYTHON")
	if python == "" {
		python = "python3"
	}
	helper := exec.Command(python, "../cluster.py")
	helper.Stderr = os.Stderr
	stop, err := helper.StdinPipe()
	if err != nil {
		panic(err)
	}
	output, err := helper.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := helper.Start(); err != nil {
		panic(err)
	}
	if err := json.NewDecoder(output).Decode(&cluster); err != nil {
		panic(fmt.Errorf("the cluster did not start: %w", err))
	}
	code := m.Run()
	stop.Close()
	if err := helper.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "the cluster did not end well:", err)
		return 1
	}
	return code
}

func open(t *testing.T, url string) *gorqlite.Connection {
	t.Helper()
	connection, err := gorqlite.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(connection.Close)
	return connection
}

func leaderAndFollower(t *testing.T) (*gorqlite.Connection, *gorqlite.Connection) {
	t.Helper()
	// Discovery would send both to the leader.
	at := func(number int) string { return "http://" + cluster.SQL[number] + "/?disableClusterDiscovery=true" }
	return open(t, at(0)), open(t, at(1))
}

func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func TestRowsWrittenThroughAFollowerAreReadEverywhere(t *testing.T) {
	leader, follower := leaderAndFollower(t)
	must[gorqlite.WriteResult](t)(leader.WriteOne("CREATE TABLE everywhere (id INTEGER PRIMARY KEY, name TEXT)"))
	insert := gorqlite.ParameterizedStatement{
		Query: "INSERT INTO everywhere(name) VALUES(?)", Arguments: []interface{}{"it's"},
	}
	written := must[gorqlite.WriteResult](t)(follower.WriteOneParameterized(insert))
	if written.LastInsertID != 1 || written.RowsAffected != 1 {
		t.Fatalf("%+v", written)
	}
	for _, level := range []string{"weak", "linearizable", "strong"} {
		for _, connection := range []*gorqlite.Connection{leader, follower} {
			consistency, err := gorqlite.ParseConsistencyLevel(level)
			if err != nil {
				t.Fatal(err)
			}
			if err := connection.SetConsistencyLevel(consistency); err != nil {
				t.Fatal(err)
			}
			rows := must[gorqlite.QueryResult](t)(connection.QueryOne("SELECT id, name FROM everywhere"))
			var id int64
			var name string
			if !rows.Next() || rows.Scan(&id, &name) != nil || id != 1 || name != "it's" {
				t.Fatalf("%s: %d %q %v", level, id, name, rows.Err)
			}
		}
	}
}

func TestTheClusterIsDiscovered(t *testing.T) {
	connection := open(t, "http://"+cluster.SQL[1]+"/")
	leader := must[string](t)(connection.Leader())
	peers := must[[]string](t)(connection.Peers())
	if leader != cluster.SQL[0] || len(peers) != 3 {
		t.Fatalf("leader %s of %v, expected %v", leader, peers, cluster.SQL)
	}
	must[gorqlite.WriteResult](t)(connection.WriteOne("CREATE TABLE discovered (id INTEGER PRIMARY KEY)"))
}

func TestATransactionIsAllOrNothing(t *testing.T) {
	leader, follower := leaderAndFollower(t)
	must[gorqlite.WriteResult](t)(leader.WriteOne("CREATE TABLE whole (id INTEGER PRIMARY KEY)"))
	_, err := follower.Write([]string{"INSERT INTO whole VALUES(1)", "INSERT INTO whole VALUES(1)"})
	if err == nil || !strings.Contains(err.Error(), "UNIQUE constraint failed") {
		t.Fatalf("%v", err)
	}
	rows := must[gorqlite.QueryResult](t)(leader.QueryOne("SELECT count(*) FROM whole"))
	var count int64
	if !rows.Next() || rows.Scan(&count) != nil || count != 0 {
		t.Fatalf("%d rows stayed", count)
	}
}

func TestAnErrorIsToldByItsWords(t *testing.T) {
	leader, follower := leaderAndFollower(t)
	for _, connection := range []*gorqlite.Connection{leader, follower} {
		if _, err := connection.QueryOne("SELECT x FROM nowhere"); err == nil || !strings.Contains(err.Error(), "no such table") {
			t.Fatalf("%v", err)
		}
	}
}

func TestCredentialsOpenTheirNamespaceAndNoOther(t *testing.T) {
	url := func(user string) string {
		return fmt.Sprintf("http://%s:%s@%s/", user, strings.ReplaceAll(cluster.Key, ":", "%3A"), cluster.SQL[1])
	}
	tenant := open(t, url(cluster.Namespace))
	must[gorqlite.WriteResult](t)(tenant.WriteOne("CREATE TABLE mine (id INTEGER PRIMARY KEY)"))
	leader, _ := leaderAndFollower(t)
	if _, err := leader.QueryOne("SELECT * FROM mine"); err == nil {
		t.Fatal("another namespace reads it")
	}
	if connection, err := gorqlite.Open(url("default")); err == nil {
		connection.Close()
		t.Fatal("a key opened another namespace")
	}
}

func TestLargeIntegersComeBack(t *testing.T) {
	_, follower := leaderAndFollower(t)
	must[gorqlite.WriteResult](t)(follower.WriteOne("CREATE TABLE large (id INTEGER PRIMARY KEY)"))
	// Beyond 2^53 the client itself loses digits: it reads numbers as float64.
	for _, number := range []int64{1<<53 - 1, -(1<<53 - 1), 1 << 31} {
		insert := gorqlite.ParameterizedStatement{Query: "INSERT INTO large VALUES(?)", Arguments: []interface{}{number}}
		must[gorqlite.WriteResult](t)(follower.WriteOneParameterized(insert))
		rows := must[gorqlite.QueryResult](t)(follower.QueryOne(fmt.Sprintf("SELECT id FROM large WHERE id = %d", number)))
		var found int64
		if !rows.Next() || rows.Scan(&found) != nil || found != number {
			t.Errorf("%d came back as %d", number, found)
		}
	}
}

func TestUnderDatabaseSQL(t *testing.T) {
	database := must[*sql.DB](t)(sql.Open("rqlite", "http://"+cluster.SQL[1]+"/?disableClusterDiscovery=true"))
	defer database.Close()
	create := "CREATE TABLE std (id INTEGER PRIMARY KEY, i INTEGER, r REAL, t TEXT, b BLOB)"
	must[sql.Result](t)(database.Exec(create))
	blob := make([]byte, 256)
	for number := range blob {
		blob[number] = byte(number)
	}
	// The driver hands bytes on as they travel.
	encoded := base64.StdEncoding.EncodeToString(blob)
	// The driver hands integers on as float64, and database/sql takes such only where they print without an exponent.
	for _, number := range []int64{999_999, -999_999, 0} {
		insert := "INSERT INTO std(i, r, t, b) VALUES(?, ?, ?, ?)"
		result := must[sql.Result](t)(database.Exec(insert, number, 0.1, "é 漢 🦀", blob))
		id := must[int64](t)(result.LastInsertId())
		var integer int64
		var real float64
		var text string
		var found string
		row := database.QueryRow("SELECT i, r, t, b FROM std WHERE id = ?", id)
		if err := row.Scan(&integer, &real, &text, &found); err != nil {
			t.Fatal(err)
		}
		if integer != number || real != 0.1 || text != "é 漢 🦀" || found != encoded {
			t.Errorf("%d came back as %d, %v, %q, %q", number, integer, real, text, found)
		}
	}
}
