//! SQL over HTTP, in the caller's own database: `/v1/db/*`, also served as `/v1/rqlite/*`.
//!
//! One statement per call, except in `transaction`, where all or none take effect. Reads see everything that was
//! acknowledged before them unless `level` says otherwise. A write answers with its place in the log (`Debros-Index`);
//! a read with that `min_index` sees it, at any level and on any node.

use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::call::Call;
use super::error::{ApiError, Code, Effect, Outcome as ErrorOutcome};
use super::reply::{self, Reply};
use super::route::{Content, Policy, Route, Tag};
use super::select::{Find, FindOptions, Select, table_name};
use super::sql_value::{Arguments, lists, objects};
use super::{consistency, sql_schema as schema};
use crate::cluster::{Read, ReadTerms, script};
use crate::types::command::{Atomicity, Execute, Executed, Outcome, RowsWanted};
use crate::types::limits::STATEMENTS_PER_REQUEST_MAX;
use crate::types::statement::{Expect, StatementResult, Written};
use crate::types::{Action, Command, Rows, Statement, Value};

/// Longest that one statement may take when a caller says nothing.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Work that one write may take, as time on a small machine. While it is applied no other namespace's write is, so this
/// is what a tenant can make all others wait.
const WRITE_TIME: Duration = Duration::from_secs(2);

/// Largest body: a transaction of many statements, or one large value.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The endpoints.
pub(super) fn routes() -> Vec<Route> {
    vec![
        post(
            "query",
            "query",
            "Run a query; `items` has the rows as objects, `rows` as lists.",
            Action::ReadSql,
            query,
        )
        .takes(Content::json(schema::statement()))
        .answers(200, "The rows.", Content::json(schema::rows())),
        post("exec", "exec", "Run one statement that writes.", Action::WriteSql, exec)
            .takes(Content::json(schema::statement()))
            .answers(200, "What it did.", Content::json(schema::written())),
        post("find", "find", "Rows of a table by equality.", Action::ReadSql, find)
            .takes(Content::json(schema::find()))
            .answers(200, "The rows.", Content::json(schema::items())),
        post("find-one", "findOne", "The first such row.", Action::ReadSql, find_one)
            .takes(Content::json(schema::find()))
            .answers(200, "The row.", Content::json(schema::row()))
            .fails(&[Code::NoSuchRow]),
        post("select", "select", "A query built from its parts.", Action::ReadSql, select)
            .takes(Content::json(schema::select()))
            .answers(200, "The rows; with `one` the first row itself.", Content::json(schema::row()))
            .fails(&[Code::NoSuchRow]),
        post("transaction", "transaction", "Several statements, all or none.", Action::WriteSql, transaction)
            .takes(Content::json(schema::transaction()))
            .answers(200, "All took effect.", Content::json(schema::transaction_done()))
            .fails(&[Code::ExpectationFailed]),
        post("create-table", "createTable", "Run one CREATE TABLE statement.", Action::WriteSql, create_table)
            .takes(Content::json(schema::create_table()))
            .answers(201, "It is there.", Content::json(schema::status())),
        post(
            "drop-table",
            "dropTable",
            "Drop a table; one that is not there is no failure.",
            Action::WriteSql,
            drop_table,
        )
        .takes(Content::json(schema::drop_table()))
        .answers(200, "It is not there.", Content::json(schema::status())),
        consistency::documented(
            Route::new(Method::GET, "/v1/db/schema", "schema", show_schema)
                .alias("/v1/rqlite/schema")
                .about(Tag::Sql, "Tables and views with their columns.")
                .policy(Policy::Namespace(Action::ReadSql))
                .answers(200, "The schema.", Content::json(schema::sql_schema()))
                .fails(STATEMENT_ERRORS),
        ),
    ]
}

const STATEMENT_ERRORS: &[Code] = &[
    Code::QuotaExceeded,
    Code::StatementFailed,
    Code::StatementRefused,
    Code::StatementLimit,
    Code::ConstraintFailed,
    Code::ResultTooLarge,
    Code::NoSuchTable,
    Code::NoSuchNamespace,
    Code::StaleRead,
    Code::NoLeader,
    Code::Overloaded,
    Code::DeadlineExceeded,
    Code::IdempotencyMismatch,
];

fn post<F, A>(name: &'static str, operation: &'static str, summary: &'static str, action: Action, handler: F) -> Route
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Result<Reply, ApiError>> + Send + 'static,
{
    let (path, alias) = match name {
        "query" => ("/v1/db/query", "/v1/rqlite/query"),
        "exec" => ("/v1/db/exec", "/v1/rqlite/exec"),
        "find" => ("/v1/db/find", "/v1/rqlite/find"),
        "find-one" => ("/v1/db/find-one", "/v1/rqlite/find-one"),
        "select" => ("/v1/db/select", "/v1/rqlite/select"),
        "transaction" => ("/v1/db/transaction", "/v1/rqlite/transaction"),
        "create-table" => ("/v1/db/create-table", "/v1/rqlite/create-table"),
        _ => ("/v1/db/drop-table", "/v1/rqlite/drop-table"),
    };
    let route = Route::new(Method::POST, path, operation, handler)
        .alias(alias)
        .about(Tag::Sql, summary)
        .policy(Policy::Namespace(action))
        .body_max(BODY_BYTES_MAX)
        .fails(STATEMENT_ERRORS);
    if action == Action::ReadSql { consistency::documented(route) } else { consistency::documented_write(route) }
}

/// One statement.
#[derive(Deserialize)]
struct One {
    sql: String,
    #[serde(default)]
    args: Arguments,
}

impl One {
    fn statement(self) -> Result<Statement, ApiError> {
        single(&self.sql)?;
        Ok(self.args.with(self.sql))
    }
}

/// Refuses a text with more than one statement: what follows a `;` would be a surprise to whoever put the text together.
fn single(sql: &str) -> Result<(), ApiError> {
    let pieces = script::split(sql).map_err(|error| ApiError::new(Code::InvalidBody, format!("sql: {error}")))?;
    match pieces.len() {
        1 => Ok(()),
        0 => Err(ApiError::new(Code::InvalidBody, "sql: there is no statement in it")),
        count => Err(ApiError::new(
            Code::InvalidBody,
            format!("sql: {count} statements where one is taken; send several to /v1/db/transaction"),
        )),
    }
}

async fn query(call: Call) -> Result<Reply, ApiError> {
    let statement = call.json::<One>()?.statement()?;
    let rows = read(&call, statement).await?;
    Ok(reply::ok(&json!({
        "columns": rows.columns,
        "rows": lists(&rows),
        "items": objects(&rows),
        "count": rows.values.len(),
    })))
}

async fn find(call: Call) -> Result<Reply, ApiError> {
    let statement = call.json::<Find>()?.statement(call.json::<FindOptions>()?, None)?;
    Ok(items(&read(&call, statement).await?))
}

async fn find_one(call: Call) -> Result<Reply, ApiError> {
    let statement = call.json::<Find>()?.statement(call.json::<FindOptions>()?, Some(1))?;
    first(&read(&call, statement).await?)
}

async fn select(call: Call) -> Result<Reply, ApiError> {
    let select: Select = call.json()?;
    let one = select.one;
    let rows = read(&call, select.statement()?).await?;
    if one { first(&rows) } else { Ok(items(&rows)) }
}

fn items(rows: &Rows) -> Reply {
    reply::ok(&json!({ "items": objects(rows), "count": rows.values.len() }))
}

fn first(rows: &Rows) -> Result<Reply, ApiError> {
    let row = objects(rows).into_iter().next();
    row.map(|row| reply::ok(&row)).ok_or_else(|| ApiError::new(Code::NoSuchRow, "not found"))
}

async fn exec(call: Call) -> Result<Reply, ApiError> {
    let statement = call.json::<One>()?.statement()?;
    let done = write(&call, vec![statement], Atomicity::EachStatement, RowsWanted::FromReturning).await?;
    let mut body = match done.executed.results.first() {
        Some(StatementResult::Failed(error)) => {
            return Err(ApiError::statement(error).outcome(ErrorOutcome::NotExecuted));
        }
        Some(StatementResult::Rows(rows)) => {
            json!({ "rows_affected": rows.values.len(), "last_insert_id": 0, "items": objects(rows) })
        }
        Some(StatementResult::Written(written)) => written_json(written),
        None => json!({ "rows_affected": 0, "last_insert_id": 0 }),
    };
    body["execution_state"] = "ok".into();
    Ok(done.answer(StatusCode::OK, &body))
}

fn written_json(written: &Written) -> Json {
    json!({ "rows_affected": written.rows_affected, "last_insert_id": written.last_insert_id })
}

/// A transaction, in either of its forms.
#[derive(Deserialize)]
struct Transaction {
    ops: Option<Vec<Op>>,
    statements: Option<Vec<String>>,
    #[serde(default)]
    return_results: bool,
}

#[derive(Deserialize)]
struct Op {
    kind: OpKind,
    sql: String,
    #[serde(default)]
    args: Arguments,
    /// Rows that it must change or find, or nothing is done.
    expect: Option<Expected>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OpKind {
    Exec,
    Query,
}

/// Exactly so many rows, or bounds.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number of rows, or an object of `rows`, `min` and `max`")]
enum Expected {
    Exactly(u64),
    Bounds {
        #[serde(default)]
        rows: Option<u64>,
        #[serde(default)]
        min: u64,
        #[serde(default)]
        max: Option<u64>,
    },
}

impl Expected {
    fn expect(&self) -> Expect {
        match *self {
            Expected::Exactly(rows) | Expected::Bounds { rows: Some(rows), .. } => Expect::exactly(rows),
            Expected::Bounds { rows: None, min, max } => Expect { min, max },
        }
    }
}

async fn transaction(call: Call) -> Result<Reply, ApiError> {
    let body: Transaction = call.json()?;
    let mut statements = Vec::new();
    let mut kinds = Vec::new();
    for (position, op) in body.ops.into_iter().flatten().enumerate() {
        single(&op.sql).map_err(|error| error.details(json!({ "op": position })))?;
        let expect = op.expect.as_ref().map(Expected::expect);
        statements.push(Statement { expect, ..op.args.with(op.sql) });
        kinds.push(op.kind);
    }
    for (position, sql) in body.statements.into_iter().flatten().enumerate() {
        single(&sql).map_err(|error| error.details(json!({ "statement": position })))?;
        statements.push(Statement::new(sql));
        kinds.push(OpKind::Exec);
    }
    if statements.is_empty() {
        let message = "invalid body: {ops:[{kind,sql,args?,expect?}], return_results?} or {statements:[...]}";
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    if statements.len() > STATEMENTS_PER_REQUEST_MAX {
        let message =
            format!("{} statements; one transaction takes at most {STATEMENTS_PER_REQUEST_MAX}", statements.len());
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    let done = write(&call, statements, Atomicity::Transaction, RowsWanted::FromAll).await?;
    let results = &done.executed.results;
    if let Some(StatementResult::Failed(error)) = results.last() {
        let details = json!({ "op": results.len() - 1 });
        return Err(ApiError::statement(error).details(details).outcome(ErrorOutcome::NotExecuted));
    }
    let mut answer = json!({ "status": "ok" });
    if body.return_results {
        answer["results"] = results.iter().zip(kinds).map(|(result, kind)| op_result(result, kind)).collect();
    }
    Ok(done.answer(StatusCode::OK, &answer))
}

fn op_result(result: &StatementResult, kind: OpKind) -> Json {
    match (result, kind) {
        (StatementResult::Rows(rows), _) => objects(rows).into(),
        (StatementResult::Written(_), OpKind::Query) => json!([]),
        (StatementResult::Written(written), OpKind::Exec) => written_json(written),
        (StatementResult::Failed(error), _) => json!({ "error": error.message }),
    }
}

#[derive(Deserialize)]
struct CreateTable {
    schema: String,
}

async fn create_table(call: Call) -> Result<Reply, ApiError> {
    let CreateTable { schema } = call.json()?;
    single(&schema)?;
    let mut words = schema.split_whitespace().map(str::to_ascii_uppercase);
    let (create, what) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    if create != "CREATE" || !matches!(what.as_str(), "TABLE" | "VIRTUAL") {
        let message = "schema: expected one CREATE TABLE statement; send others to /v1/db/exec";
        return Err(ApiError::new(Code::InvalidBody, message));
    }
    table_statement(&call, schema, StatusCode::CREATED).await
}

#[derive(Deserialize)]
struct DropTable {
    table: String,
}

async fn drop_table(call: Call) -> Result<Reply, ApiError> {
    let DropTable { table } = call.json()?;
    let sql = format!("DROP TABLE IF EXISTS {}", table_name(&table)?);
    table_statement(&call, sql, StatusCode::OK).await
}

async fn table_statement(call: &Call, sql: String, status: StatusCode) -> Result<Reply, ApiError> {
    let statements = vec![Statement::new(sql)];
    let done = write(call, statements, Atomicity::EachStatement, RowsWanted::FromReturning).await?;
    match done.executed.results.first() {
        Some(StatementResult::Failed(error)) => Err(ApiError::statement(error).outcome(ErrorOutcome::NotExecuted)),
        _ => Ok(done.answer(status, &json!({ "status": "ok" }))),
    }
}

const OBJECTS: &str = "SELECT name, type, sql FROM sqlite_schema \
    WHERE type IN ('table', 'view') AND substr(name, 1, 7) <> 'sqlite_' ORDER BY name";
const COLUMNS: &str = "SELECT o.name AS \"table\", c.name, c.type, c.\"notnull\", c.dflt_value, c.pk \
    FROM sqlite_schema o JOIN pragma_table_info(o.name) c \
    WHERE o.type = 'table' AND substr(o.name, 1, 7) <> 'sqlite_' ORDER BY o.name, c.cid";
const COLUMNS_OF_VIEW: &str = "SELECT ?1 AS \"table\", name, type, \"notnull\", dflt_value, pk \
    FROM pragma_table_info(?1) ORDER BY cid";

async fn show_schema(call: Call) -> Result<Reply, ApiError> {
    let mut found = read_all(&call, vec![Statement::new(OBJECTS), Statement::new(COLUMNS)]).await?.into_iter();
    let (stored, columns) = (found.next().unwrap_or_default(), found.next().unwrap_or_default());
    let stored = objects(&stored);
    let mut columns = objects(&columns);
    columns.extend(columns_of_views(&call, &stored).await?);
    let of_table = |name: &Json| -> Vec<Json> {
        let column = |column: &Json| {
            json!({
                "name": column["name"],
                "type": column["type"],
                "nullable": column["notnull"] == 0,
                "default": column["dflt_value"],
                "primary_key": column["pk"] != 0,
            })
        };
        columns.iter().filter(|column| column["table"] == *name).map(column).collect()
    };
    let tables: Vec<Json> = stored
        .iter()
        .map(|object| {
            let columns = of_table(&object["name"]);
            json!({ "name": object["name"], "type": object["type"], "columns": columns, "sql": object["sql"] })
        })
        .collect();
    Ok(reply::ok(&json!({ "count": stored.len(), "objects": stored, "tables": tables })))
}

/// The columns of views, one by one: a view of a table that is no longer there has none, and spoils nothing for the others.
async fn columns_of_views(call: &Call, stored: &[Json]) -> Result<Vec<Json>, ApiError> {
    let views: Vec<Statement> = stored
        .iter()
        .filter(|object| object["type"] == "view")
        .filter_map(|object| object["name"].as_str())
        .map(|name| Statement { positional: vec![Value::Text(name.to_owned())], ..Statement::new(COLUMNS_OF_VIEW) })
        .collect();
    let mut columns = Vec::new();
    for views in views.chunks(STATEMENTS_PER_REQUEST_MAX) {
        for result in results(call, views.to_vec(), Atomicity::EachStatement).await? {
            if let StatementResult::Rows(rows) = result {
                columns.extend(objects(&rows));
            }
        }
    }
    Ok(columns)
}

/// The rows of one query.
async fn read(call: &Call, statement: Statement) -> Result<Rows, ApiError> {
    Ok(read_all(call, vec![statement]).await?.pop().unwrap_or_default())
}

/// The rows of several queries, which see one state of the database.
async fn read_all(call: &Call, statements: Vec<Statement>) -> Result<Vec<Rows>, ApiError> {
    results(call, statements, Atomicity::Transaction)
        .await?
        .into_iter()
        .map(|result| match result {
            StatementResult::Rows(rows) => Ok(rows),
            StatementResult::Written(_) => Ok(Rows::default()),
            StatementResult::Failed(error) => Err(ApiError::statement(&error)),
        })
        .collect()
}

async fn results(
    call: &Call,
    statements: Vec<Statement>,
    atomicity: Atomicity,
) -> Result<Vec<StatementResult>, ApiError> {
    let ReadTerms { level, freshness, min_index } = consistency::read_terms(call)?;
    let read = Read {
        namespace: call.grant()?.namespace().clone(),
        statements,
        atomicity,
        level,
        freshness,
        min_index,
        statement_timeout: Some(STATEMENT_TIMEOUT),
        qualify_columns: false,
    };
    let answer = call.face.cluster().read(read, call.deadline).await;
    answer.map(|answer| answer.results).map_err(|error| ApiError::cluster(error, Effect::Reads))
}

/// A write that went through the log.
struct Done {
    executed: Executed,
    index: u64,
}

impl Done {
    fn answer(&self, status: StatusCode, body: &Json) -> Reply {
        consistency::tell_write(reply::json(status, body), self.index, self.executed.replayed)
    }
}

async fn write(
    call: &Call,
    statements: Vec<Statement>,
    atomicity: Atomicity,
    rows: RowsWanted,
) -> Result<Done, ApiError> {
    let mut execute = Execute {
        atomicity,
        rows,
        idempotency: consistency::idempotency(call)?,
        database_bytes_max: call.face.quotas().database_bytes_max,
        ..Execute::new(call.grant()?.namespace().clone(), statements)
    };
    execute.limit_time(WRITE_TIME);
    let applied = call.face.cluster().submit(Command::Execute(execute), call.deadline).await;
    let applied = applied.map_err(|error| ApiError::cluster(error, Effect::Writes))?;
    match applied.outcome {
        Outcome::Executed(executed) => Ok(Done { executed, index: applied.index }),
        other => Err(ApiError::internal(format!("SQL gave {other:?}"))),
    }
}
