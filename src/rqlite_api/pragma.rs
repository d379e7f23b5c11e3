//! The PRAGMAs that rqlite refuses for a whole request, in its words.
//!
//! Only the answer is decided here, by the beginning of the text as in rqlite. That no tenant changes how a database is
//! stored is decided where SQL is prepared, for every statement of a text.

/// The top-level error.
pub(super) const DISALLOWED: &str = "disallowed pragma";

/// Refused in every form.
const ALWAYS: [&str; 2] = ["wal_checkpoint", "wal_autocheckpoint"];

/// Refused with a value; asking for theirs is fine.
const WITH_VALUE: [&str; 3] = ["journal_mode", "synchronous", "query_only"];

/// Whether a statement begins with such a PRAGMA.
pub(super) fn is_disallowed(sql: &str) -> bool {
    let sql = sql.trim_start();
    let Some((_, rest)) = sql.split_at_checked(6).filter(|(word, _)| word.eq_ignore_ascii_case("pragma")) else {
        return false;
    };
    let (name, rest) = word_of(rest.trim_start());
    let (name, rest) = match rest.trim_start().strip_prefix('.') {
        Some(rest) => word_of(rest.trim_start()),
        None => (name, rest),
    };
    let named = |names: &[&str]| names.iter().any(|known| name.eq_ignore_ascii_case(known));
    named(&ALWAYS) || (named(&WITH_VALUE) && rest.trim_start().starts_with(['=', '(']))
}

fn word_of(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changes_the_storage_is_refused() {
        for sql in [
            "PRAGMA journal_mode=DELETE",
            "  pragma  main.journal_mode = wal",
            "PRAGMA journal_mode(delete)",
            "PRAGMA wal_checkpoint",
            "PRAGMA wal_checkpoint(TRUNCATE)",
            "PRAGMA wal_autocheckpoint=10",
            "PRAGMA synchronous=FULL",
            "PRAGMA query_only=1",
        ] {
            assert!(is_disallowed(sql), "{sql}");
        }
        for sql in ["", "é", "PRAGMA", "PRAGMA journal_mode", "PRAGMA foreign_keys=1", "SELECT 'PRAGMA query_only=1'"]
        {
            assert!(!is_disallowed(sql), "{sql}");
        }
    }
}
