//! Go's notation for spans of time: `300ms`, `1.5s`, `1h2m`, as query parameters carry them and both faces print them.

use std::time::Duration;

/// Units by name, in nanoseconds.
const UNITS: [(&str, f64); 8] =
    [("ns", 1.0), ("us", 1e3), ("µs", 1e3), ("μs", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];

/// Reads a duration; a negative one is zero, since nothing here can wait that long. `None` when it is none.
///
/// Beyond Go's range of 292 years it is no duration either.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if unsigned == "0" {
        return Some(Duration::ZERO);
    }
    if unsigned.is_empty() {
        return None;
    }
    let mut nanoseconds = 0.0;
    let mut rest = unsigned;
    while !rest.is_empty() {
        let number_len = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(number_len);
        let unit_len = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if !number.bytes().any(|b| b.is_ascii_digit()) {
            return None;
        }
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit)?;
        nanoseconds += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    if nanoseconds > i64::MAX as f64 {
        return None;
    }
    Some(if text.starts_with('-') { Duration::ZERO } else { Duration::from_nanos(nanoseconds as u64) })
}

/// Prints a duration as Go's `Duration.String` does.
pub(crate) fn format(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    match nanoseconds {
        0 => "0s".to_owned(),
        1..1_000 => format!("{nanoseconds}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(nanoseconds, 1_000, 3)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanoseconds, 1_000_000, 6)),
        _ => {
            let minutes = duration.as_secs() / 60;
            let seconds = fraction(nanoseconds - u128::from(minutes) * 60_000_000_000, 1_000_000_000, 9);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{seconds}s"),
                (0, minutes) => format!("{minutes}m{seconds}s"),
                (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `number / unit` with at most `digits` decimals and no trailing zeros.
fn fraction(number: u128, unit: u128, digits: usize) -> String {
    let text = format!("{}.{:0digits$}", number / unit, number % unit);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_takes_is_taken() {
        for (text, expected) in [
            ("0", 0),
            ("300ms", 300_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120_000_000_000),
            ("1h2m3s", 3_723_000_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("10us", 10_000),
            ("10µs", 10_000),
            ("7ns", 7),
            ("-5s", 0),
            ("+5ns", 5),
        ] {
            assert_eq!(parse(text), Some(Duration::from_nanos(expected)), "{text}");
        }
        for text in ["", "5", "s", "-", ".s", "1d", "1 s", "1s ", "abc", "1.2.3s", "1e3s", "300000000h", "NaNs"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn printed_as_go_prints_it() {
        for (nanoseconds, expected) in [
            (0, "0s"),
            (15, "15ns"),
            (1_500, "1.5µs"),
            (72_571_491, "72.571491ms"),
            (1_000_000_000, "1s"),
            (62_500_000_000, "1m2.5s"),
            (3_600_000_000_000, "1h0m0s"),
            (86_997_811_514, "1m26.997811514s"),
        ] {
            assert_eq!(format(Duration::from_nanos(nanoseconds)), expected);
        }
    }
}
