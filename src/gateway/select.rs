//! Queries built from members of a JSON body: `find`, `find-one` and `select`.
//!
//! Names are parsed and quoted, never pasted: a table, column or alias can only ever be a name, whatever is sent for it,
//! and an order or a select list only what [`Term`] knows. Values travel as parameters. Conditions (`where[].expr`,
//! `joins[].on`) are SQL by contract; they are held together in parentheses and refused unless they are one closed
//! expression, so that what an application put around a condition stays around it.

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::error::{ApiError, Code};
use super::sql_value::{Argument, argument};
use crate::types::{Statement, Value};

/// The members of `find` and `find-one`.
#[derive(Debug, Deserialize)]
pub(super) struct Find {
    table: String,
    /// Columns and what they must equal; a list means any of it, null means NULL.
    #[serde(default)]
    criteria: Option<Map<String, Json>>,
    #[serde(default)]
    options: Option<FindOptions>,
}

/// The members of `options`, which may also stand beside it.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct FindOptions {
    select: Option<Vec<String>>,
    order_by: Option<Vec<String>>,
    group_by: Option<Vec<String>>,
    limit: Option<u64>,
    offset: Option<u64>,
    joins: Option<Vec<Join>>,
}

/// The members of `select`.
#[derive(Debug, Deserialize)]
pub(super) struct Select {
    table: String,
    alias: Option<String>,
    select: Option<Vec<String>>,
    joins: Option<Vec<Join>>,
    r#where: Option<Vec<Where>>,
    group_by: Option<Vec<String>>,
    order_by: Option<Vec<String>>,
    limit: Option<u64>,
    offset: Option<u64>,
    /// Answer with the first row, or 404.
    #[serde(default)]
    pub(super) one: bool,
}

#[derive(Clone, Debug, Deserialize)]
struct Join {
    #[serde(default)]
    kind: String,
    table: String,
    on: String,
}

#[derive(Debug, Deserialize)]
struct Where {
    /// How it is joined to the ones before it; the first one's is not looked at.
    #[serde(default)]
    conj: String,
    expr: String,
    #[serde(default)]
    args: Vec<Argument>,
}

/// A query while it is put together.
struct Query {
    sql: String,
    values: Vec<Value>,
}

impl Find {
    /// The query, with the options that stand beside `options`; `limit` is for `find-one`.
    ///
    /// # Errors
    /// When a member is not what it must be; the message names it.
    pub(super) fn statement(self, beside: FindOptions, limit: Option<u64>) -> Result<Statement, ApiError> {
        let options = self.options.unwrap_or_default().or(beside);
        let mut query = Query::from(&options.select, &self.table, None)?;
        query.joins(&options.joins)?;
        let mut first = true;
        for (column, wanted) in self.criteria.unwrap_or_default() {
            query.sql.push_str(if std::mem::take(&mut first) { " WHERE " } else { " AND " });
            query.criterion(&column, wanted)?;
        }
        query.tail(&options.group_by, &options.order_by, limit.or(options.limit), options.offset)?;
        Ok(query.statement())
    }
}

impl FindOptions {
    fn or(self, other: FindOptions) -> FindOptions {
        FindOptions {
            select: self.select.or(other.select),
            order_by: self.order_by.or(other.order_by),
            group_by: self.group_by.or(other.group_by),
            limit: self.limit.or(other.limit),
            offset: self.offset.or(other.offset),
            joins: self.joins.or(other.joins),
        }
    }
}

impl Select {
    /// The query.
    ///
    /// # Errors
    /// When a member is not what it must be; the message names it.
    pub(super) fn statement(self) -> Result<Statement, ApiError> {
        let mut query = Query::from(&self.select, &self.table, self.alias.as_deref())?;
        query.joins(&self.joins)?;
        for (position, Where { conj, expr, args }) in self.r#where.unwrap_or_default().into_iter().enumerate() {
            let member = format!("where[{position}]");
            let before = match conj.to_ascii_uppercase().as_str() {
                _ if position == 0 => " WHERE ",
                "" | "AND" => " AND ",
                "OR" => " OR ",
                _ => return Err(invalid(&format!("{member}.conj"), &conj, "`AND` or `OR`")),
            };
            query.sql.push_str(before);
            query.expression(&format!("{member}.expr"), &expr)?;
            query.values.extend(args.into_iter().map(|Argument(value)| value));
        }
        let limit = if self.one { Some(1) } else { self.limit };
        query.tail(&self.group_by, &self.order_by, limit, self.offset)?;
        Ok(query.statement())
    }
}

impl Query {
    fn from(select: &Option<Vec<String>>, table: &str, alias: Option<&str>) -> Result<Query, ApiError> {
        let columns = match select.as_deref() {
            None | Some([]) => "*".to_owned(),
            Some(columns) => list("select", columns, |term| term.select())?,
        };
        let mut sql = format!("SELECT {columns} FROM {}", name("table", table)?);
        if let Some(alias) = alias.filter(|alias| !alias.is_empty()) {
            sql.push_str(" AS ");
            sql.push_str(&single_name("alias", alias)?);
        }
        Ok(Query { sql, values: Vec::new() })
    }

    fn joins(&mut self, joins: &Option<Vec<Join>>) -> Result<(), ApiError> {
        for (position, Join { kind, table, on }) in joins.iter().flatten().enumerate() {
            let member = format!("joins[{position}]");
            self.sql.push_str(match kind.to_ascii_uppercase().as_str() {
                "" | "INNER" | "JOIN" | "INNER JOIN" => " INNER JOIN ",
                "LEFT" | "LEFT JOIN" | "LEFT OUTER" => " LEFT JOIN ",
                "RIGHT" | "RIGHT JOIN" => " RIGHT JOIN ",
                "FULL" | "FULL JOIN" => " FULL JOIN ",
                _ => return Err(invalid(&format!("{member}.kind"), kind, "`INNER`, `LEFT`, `RIGHT` or `FULL`")),
            });
            self.sql.push_str(&aliased_name(&format!("{member}.table"), table)?);
            self.sql.push_str(" ON ");
            self.expression(&format!("{member}.on"), on)?;
        }
        Ok(())
    }

    fn criterion(&mut self, column: &str, wanted: Json) -> Result<(), ApiError> {
        self.sql.push_str(&name("criteria", column)?);
        let member = format!("criteria.{column}");
        match wanted {
            Json::Null => self.sql.push_str(" IS NULL"),
            Json::Array(any) => {
                let marks = vec!["?"; any.len()].join(", ");
                self.sql.push_str(&format!(" IN ({marks})"));
                for value in any {
                    self.values.push(argument(&member, value)?);
                }
            }
            value => {
                self.sql.push_str(" = ?");
                self.values.push(argument(&member, value)?);
            }
        }
        Ok(())
    }

    fn expression(&mut self, member: &str, expression: &str) -> Result<(), ApiError> {
        if !is_one_expression(expression) {
            return Err(invalid(
                member,
                expression,
                "one expression: closed quotes and parentheses, no `;`, no comments, values as `?`",
            ));
        }
        self.sql.push('(');
        self.sql.push_str(expression);
        self.sql.push(')');
        Ok(())
    }

    fn tail(
        &mut self,
        group_by: &Option<Vec<String>>,
        order_by: &Option<Vec<String>>,
        limit: Option<u64>,
        offset: Option<u64>,
    ) -> Result<(), ApiError> {
        for (word, member, terms) in [("GROUP BY", "group_by", group_by), ("ORDER BY", "order_by", order_by)] {
            if let Some(terms) = terms.as_deref().filter(|terms| !terms.is_empty()) {
                let render = if member == "group_by" { Term::group } else { Term::order };
                self.sql.push_str(&format!(" {word} {}", list(member, terms, render)?));
            }
        }
        if limit.is_some() || offset.is_some() {
            // SQLite wants a limit before an offset; a negative one is none.
            let number = |n: Option<u64>| n.map_or(-1, |n| i64::try_from(n).unwrap_or(i64::MAX));
            self.sql.push_str(" LIMIT ? OFFSET ?");
            self.values.push(Value::Integer(number(limit)));
            self.values.push(Value::Integer(number(offset).max(0)));
        }
        Ok(())
    }

    fn statement(self) -> Statement {
        Statement { positional: self.values, ..Statement::new(self.sql) }
    }
}

/// An entry of a select, group or order list: `column`, `table.column`, `*`, `table.*`, or one of a few aggregates over
/// such, with `AS name` or `ASC`/`DESC` where that fits.
struct Term {
    /// Quoted.
    value: String,
    alias: Option<String>,
    direction: Option<&'static str>,
}

const AGGREGATES: [&str; 8] = ["COUNT", "SUM", "AVG", "MIN", "MAX", "TOTAL", "GROUP_CONCAT", "LENGTH"];

impl Term {
    fn parse(text: &str) -> Option<Term> {
        let text = text.trim();
        let mut term = Term { value: String::new(), alias: None, direction: None };
        let mut rest = text;
        if let Some((before, direction)) = rest.rsplit_once(char::is_whitespace) {
            term.direction = match direction.to_ascii_uppercase().as_str() {
                "ASC" => Some(" ASC"),
                "DESC" => Some(" DESC"),
                _ => None,
            };
            if term.direction.is_some() {
                rest = before.trim_end();
            }
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        if let [.., keyword, alias] = words[..]
            && keyword.eq_ignore_ascii_case("AS")
        {
            term.alias = Some(quoted(alias)?);
            let end = rest.rfind(char::is_whitespace)?;
            let end = rest[..end].trim_end().len() - keyword.len();
            rest = rest[..end].trim_end();
        }
        term.value = match rest.split_once('(') {
            None => column(rest)?,
            Some((function, inside)) => aggregate(function.trim_end(), inside.strip_suffix(')')?.trim())?,
        };
        Some(term)
    }

    fn select(&self) -> Option<String> {
        self.direction.is_none().then(|| match &self.alias {
            Some(alias) => format!("{} AS {alias}", self.value),
            None => self.value.clone(),
        })
    }

    fn group(&self) -> Option<String> {
        (self.alias.is_none() && self.direction.is_none() && !self.value.ends_with('*')).then(|| self.value.clone())
    }

    fn order(&self) -> Option<String> {
        let plain = self.alias.is_none() && !self.value.ends_with('*');
        plain.then(|| format!("{}{}", self.value, self.direction.unwrap_or("")))
    }
}

fn aggregate(function: &str, inside: &str) -> Option<String> {
    let function = AGGREGATES.into_iter().find(|known| known.eq_ignore_ascii_case(function))?;
    let (distinct, inside) = match inside.split_once(char::is_whitespace) {
        Some((word, rest)) if word.eq_ignore_ascii_case("DISTINCT") => ("DISTINCT ", rest.trim_start()),
        _ => ("", inside),
    };
    if inside == "*" && function != "COUNT" {
        return None;
    }
    Some(format!("{function}({distinct}{})", column(inside)?))
}

/// `column`, `table.column`, `*` or `table.*`, quoted.
fn column(text: &str) -> Option<String> {
    if text == "*" {
        return Some("*".to_owned());
    }
    let parts: Vec<&str> = text.split('.').collect();
    if parts.len() > 2 {
        return None;
    }
    let last = parts.len() - 1;
    let quoted: Option<Vec<String>> = parts
        .iter()
        .enumerate()
        .map(|(at, part)| if at == last && at > 0 && *part == "*" { Some("*".to_owned()) } else { quoted(part) })
        .collect();
    Some(quoted?.join("."))
}

/// A name in backquotes; already quoted ones are taken apart first. Any character may be in a quoted name; a bare one is
/// what people write without thinking. Not in SQL's own double quotes: SQLite takes those for a text where no column has
/// the name, so a mistyped column would be compared as a text instead of being refused.
fn quoted(text: &str) -> Option<String> {
    let inner = [('"', '"'), ('`', '`'), ('[', ']')].into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inner.is_empty() && !inner.contains([open, close, '\0'])).then_some(inner)
    });
    let bare = || {
        let first = text.chars().next().is_some_and(|c| c.is_alphabetic() || c == '_');
        (first && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')).then_some(text)
    };
    inner.or_else(bare).map(|name| format!("`{}`", name.replace('`', "``")))
}

fn list(member: &str, terms: &[String], render: impl Fn(&Term) -> Option<String>) -> Result<String, ApiError> {
    let mut rendered = Vec::with_capacity(terms.len());
    for text in terms.iter().flat_map(|terms| split_list(terms)) {
        match Term::parse(text).as_ref().and_then(&render) {
            Some(term) => rendered.push(term),
            None => return Err(invalid(member, text, "a column, `table.column`, or an aggregate of one")),
        }
    }
    Ok(rendered.join(", "))
}

/// Several terms in one text, as in `a, b DESC`, cut at commas outside of parentheses and quotes.
fn split_list(text: &str) -> Vec<&str> {
    let (mut depth, mut quote, mut start) = (0usize, None, 0);
    let mut parts = Vec::new();
    for (at, c) in text.char_indices() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '`') => quote = Some(c),
            (None, '[') => quote = Some(']'),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    parts
}

/// A table or column name, with the table in front where there is one.
fn name(member: &str, text: &str) -> Result<String, ApiError> {
    let trimmed = text.trim();
    column(trimmed).filter(|_| !trimmed.ends_with('*')).ok_or_else(|| invalid(member, text, "a name"))
}

fn single_name(member: &str, text: &str) -> Result<String, ApiError> {
    quoted(text.trim()).ok_or_else(|| invalid(member, text, "a name"))
}

/// `table`, `table alias` or `table AS alias`.
fn aliased_name(member: &str, text: &str) -> Result<String, ApiError> {
    let words: Vec<&str> = text.split_whitespace().collect();
    match words[..] {
        [table] => name(member, table),
        [table, alias] => Ok(format!("{} AS {}", name(member, table)?, single_name(member, alias)?)),
        [table, word, alias] if word.eq_ignore_ascii_case("AS") => {
            Ok(format!("{} AS {}", name(member, table)?, single_name(member, alias)?))
        }
        _ => Err(invalid(member, text, "a table's name, with an alias or without")),
    }
}

/// A table's name on its own, quoted, for statements about tables.
///
/// # Errors
/// When it is none.
pub(super) fn table_name(text: &str) -> Result<String, ApiError> {
    quoted(text.trim()).ok_or_else(|| ApiError::new(Code::InvalidBody, "invalid table identifier"))
}

/// Whether a text can stand in parentheses without reaching out of them.
fn is_one_expression(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (0, 0usize);
    while let Some(&byte) = bytes.get(at) {
        let close = match byte {
            b'\'' | b'"' | b'`' => Some(byte),
            b'[' => Some(b']'),
            _ => None,
        };
        if let Some(close) = close {
            // A doubled quote closes and opens again, which comes to the same.
            let Some(length) = bytes[at + 1..].iter().position(|b| *b == close) else { return false };
            at += length + 2;
            continue;
        }
        match byte {
            b'(' => depth += 1,
            b')' if depth == 0 => return false,
            b')' => depth -= 1,
            b';' | 0 => return false,
            b'-' if bytes.get(at + 1) == Some(&b'-') => return false,
            b'/' if bytes.get(at + 1) == Some(&b'*') => return false,
            _ => {}
        }
        at += 1;
    }
    depth == 0 && !text.trim().is_empty()
}

fn invalid(member: &str, value: &str, wanted: &str) -> ApiError {
    let shown: String = value.chars().take(80).collect();
    ApiError::new(Code::InvalidBody, format!("invalid body: {member}: `{shown}` is not {wanted}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select(body: &str) -> Result<(String, usize), String> {
        let select: Select = serde_json::from_str(body).expect("a body");
        let statement = select.statement().map_err(|error| format!("{error:?}"))?;
        Ok((statement.sql, statement.positional.len()))
    }

    fn find(body: &str) -> Result<(String, usize), String> {
        let find: Find = serde_json::from_str(body).expect("a body");
        let top_level: FindOptions = serde_json::from_str(body).expect("options");
        let statement = find.statement(top_level, None).map_err(|error| format!("{error:?}"))?;
        Ok((statement.sql, statement.positional.len()))
    }

    #[test]
    fn names_are_quoted_and_values_bound() {
        let body = r#"{"table":"users","alias":"u","select":["u.id","COUNT(*) AS total","max(DISTINCT \"odd name\")","u.*"],
            "joins":[{"kind":"left","table":"posts p","on":"p.user = u.id"}],
            "where":[{"expr":"age > ?","args":[18]},{"conj":"or","expr":"name = 'it''s; fine'"}],
            "group_by":["u.id"],"order_by":["total DESC, u.id"],"limit":5,"offset":2}"#;
        let (sql, values) = select(body).expect("a query");
        assert_eq!(
            sql,
            "SELECT `u`.`id`, COUNT(*) AS `total`, MAX(DISTINCT `odd name`), `u`.* FROM `users` AS `u` \
             LEFT JOIN `posts` AS `p` ON (p.user = u.id) WHERE (age > ?) OR (name = 'it''s; fine') \
             GROUP BY `u`.`id` ORDER BY `total` DESC, `u`.`id` LIMIT ? OFFSET ?"
        );
        assert_eq!(values, 3);
    }

    #[test]
    fn criteria_are_equalities_and_options_stand_in_either_place() {
        let (sql, values) =
            find(r#"{"table":"t","criteria":{"a":1,"b":null,"c":["x","y"]},"order_by":["a"],"options":{"limit":3}}"#)
                .expect("a query");
        assert_eq!(
            sql,
            "SELECT * FROM `t` WHERE `a` = ? AND `b` IS NULL AND `c` IN (?, ?) ORDER BY `a` LIMIT ? OFFSET ?"
        );
        assert_eq!(values, 5);
        assert_eq!(find(r#"{"table":"t"}"#).expect("a query").0, "SELECT * FROM `t`");
        assert_eq!(find(r#"{"table":"t","offset":7}"#).expect("a query").0, "SELECT * FROM `t` LIMIT ? OFFSET ?");
    }

    #[test]
    fn nothing_reaches_out_of_its_place() {
        for table in
            ["t; DROP TABLE t", "t--", "t WHERE 1", "(SELECT 1)", "", " ", "a.b.c", "t\"", "*", "t.*", "1t", "\"\""]
        {
            let body = serde_json::json!({ "table": table }).to_string();
            assert!(find(&body).is_err(), "{table}");
        }
        for term in
            ["id; DROP TABLE t", "id, (SELECT 1)", "random()", "id --", "1", "CASE", "id desc nulls", "a b c", "sum(*)"]
        {
            let body = serde_json::json!({ "table": "t", "order_by": [term] }).to_string();
            let accepted = find(&body).map(|(sql, _)| sql);
            assert!(accepted.is_err() || accepted == Ok("SELECT * FROM `t` ORDER BY `CASE`".to_owned()), "{term}");
        }
        for expression in ["1) OR (1", "1; DROP TABLE t", "1 -- x", "1 /* x", "'open", "(1", "", "a = \"", "[x"] {
            let body = serde_json::json!({ "table": "t", "where": [{ "expr": expression }] }).to_string();
            assert!(select(&body).is_err(), "{expression}");
        }
        for kind in ["CROSS JOIN x;", "NATURAL", "JOIN JOIN"] {
            let body =
                serde_json::json!({ "table": "t", "joins": [{ "kind": kind, "table": "u", "on": "1" }] }).to_string();
            assert!(select(&body).is_err(), "{kind}");
        }
        let criteria = serde_json::json!({ "table": "t", "criteria": { "a\" OR 1 --": 1 } }).to_string();
        assert!(find(&criteria).is_err());
    }
}
