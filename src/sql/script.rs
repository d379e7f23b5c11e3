//! A script, cut into its statements where SQLite's own tokenizer says that one is complete: `;` in strings, comments
//! and trigger bodies ends nothing.

use std::ffi::CString;

use super::ffi;

/// One statement of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Its text, from its first word to its `;`.
    pub sql: &'a str,
    /// The line that it begins on, counted from 1.
    pub line: usize,
}

impl Piece<'_> {
    /// Its first word, in upper case.
    pub fn keyword(&self) -> String {
        self.sql.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_uppercase()
    }
}

/// A script that SQLite would not read to its end.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line} has a NUL character, at which SQLite would stop reading")]
pub struct NulInScript {
    /// Where it is, counted from 1.
    pub line: usize,
}

/// The statements of a script in order; white space and comments alone are none. A byte order mark is skipped.
///
/// # Errors
/// [`NulInScript`].
pub fn split(script: &str) -> Result<Vec<Piece<'_>>, NulInScript> {
    let script = script.strip_prefix('\u{feff}').unwrap_or(script);
    if let Some(at) = script.find('\0') {
        return Err(NulInScript { line: line_of(script, at) });
    }
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(begin) = first_word(script, start) {
        let end = end_of(script, begin);
        let sql = script[begin..end].trim_end();
        pieces.push(Piece { sql, line: line_of(script, begin) });
        start = end;
    }
    Ok(pieces)
}

fn line_of(script: &str, at: usize) -> usize {
    script[..at].matches('\n').count() + 1
}

/// Where the next statement begins, past white space, comments and lone semicolons.
fn first_word(script: &str, mut at: usize) -> Option<usize> {
    loop {
        let rest = &script[at..];
        let first = rest.chars().next()?;
        at += if first.is_whitespace() || first == ';' {
            first.len_utf8()
        } else if rest.starts_with("--") {
            rest.find('\n').unwrap_or(rest.len())
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or(rest.len(), |end| end + 4)
        } else {
            return Some(at);
        };
    }
}

/// Behind the first `;` with which the text from `begin` is complete, or the end of the script.
fn end_of(script: &str, begin: usize) -> usize {
    let ends = script[begin..].match_indices(';').map(|(at, _)| begin + at + 1);
    let complete = |end: &usize| {
        let text = CString::new(&script[begin..*end]).expect("the script was searched for NUL");
        ffi::is_complete(&text)
    };
    ends.into_iter().find(complete).unwrap_or(script.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(script: &str) -> Vec<&str> {
        split(script).expect("no NUL").into_iter().map(|piece| piece.sql).collect()
    }

    #[test]
    fn semicolons_in_strings_comments_and_triggers_end_nothing() {
        let trigger = "CREATE TRIGGER a AFTER INSERT ON t BEGIN\n  UPDATE t SET a = CASE WHEN 1 THEN ';' END; -- END;\n  DELETE FROM u; END;";
        let script = format!(
            "-- first; comment\nINSERT INTO t VALUES('it''s; -- not a comment');\n/* ; /* */ ;;\n{trigger}\nSELECT \"a;b\", [c;d], `e;f`"
        );
        let expected = ["INSERT INTO t VALUES('it''s; -- not a comment');", trigger, "SELECT \"a;b\", [c;d], `e;f`"];
        assert_eq!(texts(&script), expected);
    }

    #[test]
    fn lines_are_those_of_the_file() {
        let pieces = split("\u{feff}BEGIN;\r\n\r\n-- x\r\ncreate table t(a);\r\nCOMMIT;").expect("no NUL");
        let seen: Vec<_> = pieces.iter().map(|piece| (piece.line, piece.keyword())).collect();
        assert_eq!(seen, [(1, "BEGIN".to_owned()), (4, "CREATE".to_owned()), (5, "COMMIT".to_owned())]);
    }

    #[test]
    fn blanks_are_no_statements_and_nul_is_refused() {
        for blank in ["", " \n\t", "-- only", "/* open", ";;;", "\u{feff}"] {
            assert_eq!(texts(blank), [""; 0], "{blank:?}");
        }
        assert_eq!(split("SELECT 1;\nSELECT '\0'"), Err(NulInScript { line: 2 }));
    }
}
