//! JSON strings as Go's `encoding/json` prints them: `<`, `>`, `&`, U+2028 and U+2029 are escaped.
//!
//! U+FFFD is always escaped: it stands for bytes that were no UTF-8, which Go escapes, and a reader sees no difference.

/// What to do with a byte: `0` copy it, `b'u'` a `\u00xx` escape, `b'?'` look at what follows, else the short escape.
const ACTIONS: [u8; 256] = {
    let mut actions = [0; 256];
    let mut control = 0;
    while control < 0x20 {
        actions[control] = b'u';
        control += 1;
    }
    actions[0x08] = b'b';
    actions[0x0c] = b'f';
    actions[b'\n' as usize] = b'n';
    actions[b'\r' as usize] = b'r';
    actions[b'\t' as usize] = b't';
    actions[b'"' as usize] = b'"';
    actions[b'\\' as usize] = b'\\';
    actions[b'<' as usize] = b'u';
    actions[b'>' as usize] = b'u';
    actions[b'&' as usize] = b'u';
    actions[0xe2] = b'?';
    actions[0xef] = b'?';
    actions
};

const HEX: &[u8; 16] = b"0123456789abcdef";

/// Appends `text` in quotes.
pub(super) fn write_string(out: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    out.push(b'"');
    let mut copied = 0;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        let action = ACTIONS[usize::from(byte)];
        if action == 0 {
            at += 1;
            continue;
        }
        let mut width = 1;
        let escape: &[u8] = match action {
            b'?' => match &bytes[at..] {
                [0xe2, 0x80, 0xa8, ..] => b"\\u2028",
                [0xe2, 0x80, 0xa9, ..] => b"\\u2029",
                [0xef, 0xbf, 0xbd, ..] => b"\\ufffd",
                _ => b"",
            },
            b'u' => &[b'\\', b'u', b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]],
            short => &[b'\\', short],
        };
        if action == b'?' {
            width = 3;
        }
        if !escape.is_empty() {
            out.extend_from_slice(&bytes[copied..at]);
            out.extend_from_slice(escape);
            copied = at + width;
        }
        at += width;
    }
    out.extend_from_slice(&bytes[copied..]);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &str) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn what_html_or_javascript_could_misread_is_escaped() {
        assert_eq!(quoted("<a href=\"x\">&amp;</a>"), r#""\u003ca href=\"x\"\u003e\u0026amp;\u003c/a\u003e""#);
        assert_eq!(quoted("line\u{2028}sep\u{2029}"), r#""line\u2028sep\u2029""#);
        assert_eq!(quoted("\0z\u{7}\u{8}\u{c}\n\r\t\\\u{7f}"), "\"\\u0000z\\u0007\\b\\f\\n\\r\\t\\\\\u{7f}\"");
        assert_eq!(quoted("\u{fffd}A"), r#""\ufffdA""#);
    }

    #[test]
    fn other_text_is_copied() {
        for text in ["", "plain", "ä€ 漢字 🦀", "\u{2027}\u{202a}\u{fffc}"] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
    }

    proptest::proptest! {
        #[test]
        fn every_string_reads_back_the_same(text: String) {
            proptest::prop_assert_eq!(serde_json::from_str::<String>(&quoted(&text)).expect("JSON"), text);
        }
    }
}
