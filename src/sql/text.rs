//! The little that is read from SQL text itself; everything else is asked of SQLite's own parser.

/// The first word of a statement, in no particular case; empty when it begins with something else.
pub(super) fn first_keyword(sql: &str) -> &str {
    let start = skip_blank(sql);
    let end = start.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(start.len());
    &start[..end]
}

/// Whether the first word is one of these.
pub(super) fn begins_with(sql: &str, keywords: &[&str]) -> bool {
    let first = first_keyword(sql);
    keywords.iter().any(|keyword| first.eq_ignore_ascii_case(keyword))
}

/// The text after white space, comments and empty statements.
pub(super) fn skip_blank(sql: &str) -> &str {
    let mut rest = sql;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c', ';', '\u{feff}']);
        if let Some(comment) = rest.strip_prefix("--") {
            rest = comment.find('\n').map_or("", |end| &comment[end..]);
        } else if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.find("*/").map_or("", |end| &comment[end + 2..]);
        } else {
            return rest;
        }
    }
}

/// Whether the text surely is one statement: no `;` but at its end. A `;` in a literal makes this `false`, which
/// costs the statement its place in the cache and nothing else.
pub(super) fn is_single(sql: &str) -> bool {
    !sql.trim_end_matches([' ', '\t', '\n', '\r', ';']).as_bytes().contains(&b';')
}

/// Whether the text mentions a word in any case: may say yes wrongly (inside of another word), never no.
pub(super) fn mentions(sql: &str, lower_case_word: &str) -> bool {
    let word = lower_case_word.as_bytes();
    let first = word.first().copied().unwrap_or_default();
    sql.as_bytes()
        .windows(word.len())
        .any(|window| window[0].eq_ignore_ascii_case(&first) && window.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_is_found_behind_comments() {
        for (sql, word) in [
            ("SELECT 1", "SELECT"),
            (" -- a\n /* b */ ;\tvacuum", "vacuum"),
            ("/* open", ""),
            ("-- only", ""),
            ("", ""),
            ("'x'", ""),
        ] {
            assert_eq!(first_keyword(sql), word, "{sql}");
        }
    }

    #[test]
    fn one_statement_is_told_from_several() {
        for sql in ["SELECT 1", "SELECT 1;", "SELECT 1 ; \n", ""] {
            assert!(is_single(sql), "{sql}");
        }
        for sql in ["SELECT 1; SELECT 2", "SELECT ';'", "SELECT 1; -- x"] {
            assert!(!is_single(sql), "{sql}");
        }
    }
}
