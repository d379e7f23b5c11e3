//! The `pretty` parameter: compact JSON laid out with four spaces, as Go's `json.Indent` does.

/// Lays out compact JSON. Empty arrays and objects stay on their line.
pub(super) fn indented(compact: &[u8]) -> Vec<u8> {
    indented_within(compact, usize::MAX).expect("nothing is longer than that")
}

/// As [`indented`]; `None` when it would be longer than `bytes_max`.
pub(super) fn indented_within(compact: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity((compact.len() * 2).min(bytes_max));
    let mut depth = 0;
    let mut in_string = false;
    let mut bytes = compact.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if out.len() > bytes_max {
            return None;
        }
        out.push(byte);
        match byte {
            b'"' => in_string = !in_string,
            b'\\' if in_string => out.extend(bytes.next()),
            _ if in_string => {}
            b'[' | b'{' => {
                if let Some(&next) = bytes.peek()
                    && (next == b']' || next == b'}')
                {
                    out.extend(bytes.next());
                } else {
                    depth += 1;
                    new_line(&mut out, depth);
                }
            }
            b']' | b'}' => {
                out.pop();
                depth -= 1;
                new_line(&mut out, depth);
                out.push(byte);
            }
            b',' => new_line(&mut out, depth),
            b':' => out.push(b' '),
            _ => {}
        }
    }
    (out.len() <= bytes_max).then_some(out)
}

fn new_line(out: &mut Vec<u8>, depth: usize) {
    out.push(b'\n');
    out.resize(out.len() + depth * 4, b' ');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_is_four_spaces_and_strings_are_left_alone() {
        let compact = br#"{"results":[{"a":[1,"x,\"{}:"],"b":{}}],"c":[]}"#;
        let expected = "{\n    \"results\": [\n        {\n            \"a\": [\n                1,\n                \
                        \"x,\\\"{}:\"\n            ],\n            \"b\": {}\n        }\n    ],\n    \"c\": []\n}";
        assert_eq!(String::from_utf8(indented(compact)).expect("UTF-8"), expected);
        assert_eq!(indented_within(compact, expected.len() - 1), None);
    }
}
