//! What error messages show of a text that was refused.

/// The beginning of `text`, on one line: it came from outside, and may be long or try to look like something else.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let escaped = |part: &str| part.escape_debug().to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => escaped(&text[..end]) + "…",
        None => escaped(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_text_stays_on_one_line_and_short() {
        assert_eq!(excerpt("a\nb\u{202e}"), "a\\nb\\u{202e}");
        assert_eq!(excerpt(&"é".repeat(64)), "é".repeat(64));
        assert_eq!(excerpt(&"é".repeat(1000)), "é".repeat(64) + "…");
    }
}
