//! Durations and sizes as people write them, and fields that may be left empty.
//!
//! Each submodule serves serde's `with`, so that the structs hold plain [`Duration`]s, numbers and [`Option`]s.

use std::fmt::Write as _;
use std::time::Duration;

/// A text that is no duration.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a duration; write a number with its unit, for example 15s, 1h30m or 250ms")]
pub struct InvalidDuration(pub String);

/// A text or number that is no size.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a size; write bytes as an integer, or with a unit, for example 64MiB")]
pub struct InvalidSize(pub String);

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Longest unit first, for printing; parsing also knows `µs`.
const DURATION_UNITS: [(&str, u128); 7] = [
    ("d", 86_400 * NANOS_PER_SECOND),
    ("h", 3_600 * NANOS_PER_SECOND),
    ("m", 60 * NANOS_PER_SECOND),
    ("s", NANOS_PER_SECOND),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Powers of 1024; `KB` and `K` mean the same as `KiB`, as in SQLite's and rqlite's flags.
const SIZE_UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

/// Reads Go's duration syntax (`1h30m`, `1.5s`, `250ms`) with `d` for 24 hours added.
///
/// # Errors
/// For anything else, a bare number other than `0` and more than 580 years included.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidDuration> {
    let invalid = || InvalidDuration(text.to_owned());
    let mut rest = text.trim();
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    let mut nanos: u128 = 0;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(invalid)?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = if unit == "µs" || unit == "μs" { "us" } else { unit };
        let (_, scale) = *DURATION_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(invalid)?;
        nanos = scaled(number, scale).and_then(|n| nanos.checked_add(n)).ok_or_else(invalid)?;
        rest = tail;
    }
    match u64::try_from(nanos) {
        Ok(nanos) if !text.trim().is_empty() => Ok(Duration::from_nanos(nanos)),
        _ => Err(invalid()),
    }
}

/// `number` (digits with at most one point) times `scale`, cut to whole units.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    // 18 digits are finer than a nanosecond of the largest unit and keep the product inside 128 bits.
    if (whole.is_empty() && fraction.is_empty()) || whole.len() > 18 || fraction.len() > 18 {
        return None;
    }
    let digits = |text: &str| if text.is_empty() { Some(0) } else { text.parse::<u128>().ok() };
    let part = digits(fraction)? * scale / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    digits(whole)?.checked_mul(scale)?.checked_add(part)
}

/// The shortest text that [`parse_duration`] reads back: `1h30m`, `100ms`, `0s`.
pub fn format_duration(duration: Duration) -> String {
    if duration.is_zero() {
        return "0s".to_owned();
    }
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (name, scale) in DURATION_UNITS {
        if rest >= scale {
            write!(text, "{}{name}", rest / scale).expect("writing to a String cannot fail");
            rest %= scale;
        }
    }
    text
}

/// Reads bytes (`65536`) or bytes with a unit (`64MiB`, `64 MB`, `64m`).
///
/// # Errors
/// For anything else.
pub fn parse_size(text: &str) -> Result<u64, InvalidSize> {
    let trimmed = text.trim();
    let number_end = trimmed.find(|c: char| !c.is_ascii_digit()).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(number_end);
    let scale = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(1),
        unit => SIZE_UNITS
            .iter()
            .find(|(name, _)| {
                let letter = name[..1].to_ascii_lowercase();
                unit == letter || unit == format!("{letter}b") || unit == format!("{letter}ib")
            })
            .map(|(_, scale)| *scale),
    };
    let bytes = scale.and_then(|scale| number.parse::<u64>().ok()?.checked_mul(scale));
    bytes.ok_or_else(|| InvalidSize(text.to_owned()))
}

/// `64MiB` where that is exact, else bytes.
pub fn format_size(bytes: u64) -> String {
    match SIZE_UNITS.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale)) {
        Some((name, scale)) => format!("{}{name}", bytes / scale),
        None => bytes.to_string(),
    }
}

/// A [`Duration`] as text.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        /// A number is refused with the same words as a bad text: its unit would be a guess.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Text(String),
            Integer(i64),
            Float(f64),
        }
        let text = match Raw::deserialize(deserializer)? {
            Raw::Text(text) => text,
            Raw::Integer(number) => number.to_string(),
            Raw::Float(number) => number.to_string(),
        };
        super::parse_duration(&text).map_err(de::Error::custom)
    }
}

/// A number of bytes as integer or text.
pub(super) mod size {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(crate) fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_size(*bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Integer(i64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Integer(number) => {
                u64::try_from(number).map_err(|_| de::Error::custom(super::InvalidSize(number.to_string())))
            }
            Raw::Text(text) => super::parse_size(&text).map_err(de::Error::custom),
        }
    }
}

/// A value that an empty text leaves unset: TOML has no null, and every key can so stand in the shipped file.
pub(super) mod unset {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&path.as_deref().unwrap_or(Path::new("")).display())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_writes_them() {
        let good = [
            ("15s", Duration::from_secs(15)),
            ("1h30m", Duration::from_secs(5400)),
            ("1.5s", Duration::from_millis(1500)),
            (".5m", Duration::from_secs(30)),
            ("250ms", Duration::from_millis(250)),
            ("3us", Duration::from_micros(3)),
            ("3µs", Duration::from_micros(3)),
            ("10ns", Duration::from_nanos(10)),
            ("7d", Duration::from_secs(7 * 86_400)),
            ("0", Duration::ZERO),
            ("0s", Duration::ZERO),
        ];
        for (text, expected) in good {
            assert_eq!(parse_duration(text), Ok(expected), "{text}");
        }
        let bad = ["", " ", "15", "s", "1x", "-1s", "1h 30m", ".s", "1..5s", "99999999999999999999s", "600000d", "٣s"];
        for text in bad {
            assert_eq!(parse_duration(text), Err(InvalidDuration(text.to_owned())));
        }
    }

    #[test]
    fn durations_survive_printing() {
        for text in ["0s", "100ms", "10m", "1h30m", "15s", "30d", "1d1h1m1s1ms1us1ns"] {
            assert_eq!(format_duration(parse_duration(text).expect("valid")), text);
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        for (text, expected) in
            [("0", 0), ("65536", 65_536), ("64MiB", 64 << 20), ("64 mb", 64 << 20), ("1g", 1 << 30), ("7B", 7)]
        {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for text in ["", "MiB", "1.5MiB", "-1", "64XB", "99999999TiB"] {
            assert_eq!(parse_size(text), Err(InvalidSize(text.to_owned())));
        }
        for (bytes, text) in [(0, "0"), (1000, "1000"), (64 << 20, "64MiB"), (1536, "1536"), (1 << 40, "1TiB")] {
            assert_eq!(format_size(bytes), text);
        }
    }
}
