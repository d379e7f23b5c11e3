//! SQL text of any length, cut into statements that a transaction can hold.
//!
//! A dump brings its own `BEGIN` and `COMMIT`, and `PRAGMA foreign_keys`, which has no effect inside a transaction; the
//! load is one transaction already, so they are left out. Where a statement ends is decided as SQLite's shell decides it:
//! by `;` outside of quotes and comments, and in a `CREATE TRIGGER` by `;` after `; END`. Short statements travel together.

use crate::types::Statement;

/// Bytes of statements that travel as one text: well below what one text may have.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// The statements of a script, in order, without those about transactions.
pub(super) fn statements(script: &str) -> Vec<Statement> {
    let mut texts: Vec<String> = Vec::new();
    for statement in split(script) {
        match texts.last_mut() {
            Some(text) if text.len() + statement.len() <= TEXT_BYTES_MAX => {
                text.push('\n');
                text.push_str(statement);
            }
            _ => texts.push(statement.to_owned()),
        }
    }
    texts.into_iter().map(Statement::new).collect()
}

/// Every statement with its `;`. White space and comments alone are none.
fn split(script: &str) -> Vec<&str> {
    let mut statements = Vec::new();
    let mut start = 0;
    let mut words = Words::default();
    let mut tokens = Tokens { text: script, at: 0 };
    while let Some((token, begin)) = tokens.next_token() {
        if words.is_empty() {
            start = begin;
        }
        words.take(token);
        if words.ended {
            words.keep(&script[start..tokens.at], &mut statements);
            words = Words::default();
        }
    }
    if !words.is_empty() {
        words.keep(&script[start..], &mut statements);
    }
    statements
}

/// What is known of the statement being read.
#[derive(Default)]
struct Words {
    /// The first words, in upper case; enough to tell what statement it is.
    first: Vec<String>,
    count: usize,
    /// The last tokens were `;` and then `END`.
    after_end: bool,
    after_semicolon: bool,
    ended: bool,
}

impl Words {
    fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn take(&mut self, token: &str) {
        if token == ";" {
            self.ended = self.count == 0 || !self.is_trigger() || self.after_end;
            (self.after_semicolon, self.after_end) = (true, false);
            return;
        }
        self.count += 1;
        self.after_end = self.after_semicolon && token.eq_ignore_ascii_case("END");
        self.after_semicolon = false;
        if self.first.len() < 3 {
            self.first.push(token.to_ascii_uppercase());
        }
    }

    fn is_trigger(&self) -> bool {
        let words: Vec<&str> = self.first.iter().map(String::as_str).collect();
        matches!(words[..], ["CREATE", "TRIGGER", ..] | ["CREATE", "TEMP" | "TEMPORARY", "TRIGGER"])
    }

    fn keep<'a>(&self, statement: &'a str, statements: &mut Vec<&'a str>) {
        let words: Vec<&str> = self.first.iter().map(String::as_str).collect();
        let about_transactions = matches!(words[..], ["BEGIN" | "COMMIT" | "END", ..] | ["PRAGMA", "FOREIGN_KEYS", ..]);
        if !self.is_empty() && !about_transactions {
            statements.push(statement.trim_end());
        }
    }
}

/// Words, quoted things and single characters, without white space and comments.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    /// The next token and where it begins; `at` is then its end.
    fn next_token(&mut self) -> Option<(&'a str, usize)> {
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            let (len, skipped) = if first.is_ascii_whitespace() {
                (1, true)
            } else if rest.starts_with("--") {
                (rest.find('\n').unwrap_or(rest.len()), true)
            } else if let Some(comment) = rest.strip_prefix("/*") {
                (comment.find("*/").map_or(rest.len(), |end| end + 4), true)
            } else if let Some(close) = closing_quote(first) {
                // A doubled quote ends one quoted thing and begins the next, which comes to the same.
                (rest[1..].find(close).map_or(rest.len(), |end| end + 2), false)
            } else if is_word(first) {
                (rest.find(|c| !is_word(c)).unwrap_or(rest.len()), false)
            } else {
                (first.len_utf8(), false)
            };
            let begin = self.at;
            self.at += len;
            if !skipped {
                return Some((&self.text[begin..self.at], begin));
            }
        }
    }
}

fn closing_quote(open: char) -> Option<char> {
    match open {
        '\'' | '"' | '`' => Some(open),
        '[' => Some(']'),
        _ => None,
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_loses_its_own_transaction_and_nothing_else() {
        let dump = "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\nCREATE TABLE ld(id INTEGER);\n\
                    INSERT INTO ld VALUES(1);\nCOMMIT;\n";
        assert_eq!(split(dump), ["CREATE TABLE ld(id INTEGER);", "INSERT INTO ld VALUES(1);"]);
        let all = statements(dump);
        assert_eq!(all.len(), 1, "short statements travel together");
        assert_eq!(all[0].sql, "CREATE TABLE ld(id INTEGER);\nINSERT INTO ld VALUES(1);");
    }

    #[test]
    fn semicolons_in_quotes_comments_and_triggers_end_nothing() {
        let trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN SELECT CASE 1 WHEN 1 THEN 2 END; DELETE FROM b; END;";
        for statement in [
            "INSERT INTO a VALUES('x;''y;');",
            "SELECT \";\" , `;`, [;];",
            "SELECT 1 -- no; end\n;",
            "SELECT /* ; */ 1;",
            trigger,
            "CREATE TEMP TRIGGER t BEGIN SELECT 1; END;",
            "INSERT INTO ä VALUES('ü;');",
        ] {
            assert_eq!(split(&format!("{statement} SELECT 2")), [statement, "SELECT 2"]);
        }
    }

    #[test]
    fn nothing_is_no_statement() {
        for script in ["", " \n", ";;", "-- only a comment", "/* open", ";; ; -- x"] {
            assert_eq!(split(script), Vec::<&str>::new(), "{script}");
        }
        assert_eq!(split("SELECT 'open; quote"), ["SELECT 'open; quote"]);
    }

    #[test]
    fn a_long_script_becomes_several_texts() {
        let line = format!("INSERT INTO a VALUES('{}');\n", "x".repeat(1000));
        let all = statements(&line.repeat(1000));
        assert!((4..=5).contains(&all.len()), "{}", all.len());
        assert!(all.iter().all(|statement| statement.sql.len() <= TEXT_BYTES_MAX));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_split_without_loss_of_its_end(script in "[a-z;'\"\\-/*\\n \\[\\]é]{0,60}") {
            let all = split(&script);
            for statement in &all {
                proptest::prop_assert!(script.contains(statement));
            }
        }
    }
}
