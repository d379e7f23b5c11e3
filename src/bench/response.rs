//! As much of HTTP/1.1 as an answer needs: the status, where the body lies, and whether it is complete.
//!
//! Bodies with a length and chunked ones are understood (stock rqlite sends the longer answers in chunks). An answer
//! that ends with the connection is not: a connection is used again.

use std::ops::Range;

/// What a complete answer consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) status: u16,
    /// Where the body lies in the bytes that were parsed. A chunked one is still in its chunks.
    pub(super) body: Range<usize>,
}

/// Why bytes are no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an HTTP/1.1 answer with a length")]
pub(super) struct Malformed;

const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// Looks at all that came so far. `None`: there is more to come. Bytes after the answer are malformed, since nothing is
/// asked before the answer is there.
pub(super) fn parse(bytes: &[u8]) -> Result<Option<Response>, Malformed> {
    let Some(head_bytes) = find(bytes, BLANK_LINE) else { return Ok(None) };
    let start = head_bytes + BLANK_LINE.len();
    let head = std::str::from_utf8(&bytes[..head_bytes]).map_err(|_| Malformed)?;
    let mut lines = head.split("\r\n");
    let status_line = lines.next().unwrap_or_default();
    let status = status_line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).ok_or(Malformed)?;
    let status = status.parse().map_err(|_| Malformed)?;
    let end = match framing(lines)? {
        Framing::Length(length) => start.checked_add(length).ok_or(Malformed)?,
        Framing::Chunked => match chunks_end(bytes, start)? {
            Some(end) => end,
            None => return Ok(None),
        },
    };
    match bytes.len() {
        length if length < end => Ok(None),
        length if length == end => Ok(Some(Response { status, body: start..end })),
        _ => Err(Malformed),
    }
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing<'a>(lines: impl Iterator<Item = &'a str>) -> Result<Framing, Malformed> {
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { return Err(Malformed) };
        if name.eq_ignore_ascii_case("content-length") {
            return value.trim().parse().map(Framing::Length).map_err(|_| Malformed);
        }
        if name.eq_ignore_ascii_case("transfer-encoding") {
            return if value.trim().eq_ignore_ascii_case("chunked") { Ok(Framing::Chunked) } else { Err(Malformed) };
        }
    }
    Err(Malformed)
}

/// The end of the last chunk, which is empty.
fn chunks_end(bytes: &[u8], start: usize) -> Result<Option<usize>, Malformed> {
    let mut at = start;
    loop {
        let Some(line_bytes) = bytes.get(at..).and_then(|rest| find(rest, b"\r\n")) else { return Ok(None) };
        let size = std::str::from_utf8(&bytes[at..at + line_bytes]).map_err(|_| Malformed)?;
        let size = usize::from_str_radix(size, 16).map_err(|_| Malformed)?;
        // The size's line, the chunk, and the line end after it.
        let chunk_end = size.checked_add(at + line_bytes + 4).ok_or(Malformed)?;
        if size == 0 {
            return Ok(Some(chunk_end));
        }
        at = chunk_end;
    }
}

/// Where `what` first lies.
pub(super) fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every prefix is incomplete, the whole is the answer, a byte more is refused.
    fn complete_only_at_the_end(answer: &str, status: u16, body: &str) {
        let bytes = answer.as_bytes();
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), Ok(None), "{length} bytes of {answer:?}");
        }
        let parsed = parse(bytes).expect("an answer").expect("complete");
        assert_eq!((parsed.status, &answer[parsed.body]), (status, body));
        assert_eq!(parse(format!("{answer}H").as_bytes()), Err(Malformed));
    }

    #[test]
    fn an_answer_may_come_in_any_pieces() {
        let answer =
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\ncontent-length: 14\r\nX: y\r\n\r\n{\"results\":[]}";
        complete_only_at_the_end(answer, 200, "{\"results\":[]}");
        complete_only_at_the_end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, "");
    }

    #[test]
    fn a_chunked_answer_may_come_in_any_pieces() {
        let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n0123456789\r\n2\r\n\r\n\r\n0\r\n\r\n";
        complete_only_at_the_end(answer, 200, "a\r\n0123456789\r\n2\r\n\r\n\r\n0\r\n\r\n");
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for bytes in [
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 2\r\nContent-Length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        ] {
            assert_eq!(parse(bytes.as_bytes()), Err(Malformed), "{bytes:?}");
        }
    }
}
