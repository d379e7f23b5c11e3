//! How answers look: aligned text for people, JSON for machines.

use std::io::{self, Write};
use std::str::FromStr;

use serde::Serialize;

use super::CliError;
use crate::types::Exit;

/// The look of an answer. It does not depend on whether the output is a terminal: scripts ask for JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) enum Format {
    /// Aligned text.
    #[default]
    Table,
    /// JSON, indented.
    Json,
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Format, String> {
        match text {
            "table" => Ok(Format::Table),
            "json" => Ok(Format::Json),
            _ => Err("allowed values: table, json".to_owned()),
        }
    }
}

/// The format that a command line asks for, before it is known to be valid: for telling what is wrong with it.
pub(super) fn wanted(args: &[String]) -> Format {
    let follows = |pair: &[String]| matches!(pair[0].as_str(), "--format" | "-f") && pair[1] == "json";
    let is_json = args.iter().any(|arg| arg == "--format=json") || args.windows(2).any(follows);
    if is_json { Format::Json } else { Format::Table }
}

/// Writes an answer as JSON.
pub(super) fn json(out: &mut dyn Write, answer: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(answer)
        .map_err(|error| CliError::new(Exit::Failed, format!("the answer could not be encoded: {error}")))?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// Writes rows under their headings, each column as wide as its widest cell.
pub(super) fn table(out: &mut dyn Write, headings: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain([headings[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let headings: Vec<String> = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for row in std::iter::once(&headings).chain(rows) {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Writes `name  value` lines with the values aligned.
pub(super) fn fields(out: &mut dyn Write, fields: &[(&str, String)]) -> io::Result<()> {
    let width = fields.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    for (name, value) in fields {
        writeln!(out, "{}", format!("{name:<width$}  {value}").trim_end())?;
    }
    Ok(())
}

/// A text, or a dash where there is none.
pub(super) fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_without_trailing_blanks() {
        let mut out = Vec::new();
        let rows = [vec!["a".to_owned(), "long cell".to_owned()], vec!["né".to_owned(), String::new()]];
        table(&mut out, &["NAME", "X"], &rows).expect("writes");
        assert_eq!(String::from_utf8(out).expect("text"), "NAME  X\na     long cell\nné\n");
    }
}
