//! Columns declared `date`, `datetime` or `timestamp`: text and integers as RFC 3339, the form that clients read.
//!
//! Text that is no time is returned as it is. rqlite answers `0001-01-01T00:00:00Z` for it, which loses the data.

use std::io::Write as _;

/// Beyond this an integer counts milliseconds, below it seconds.
const MILLISECONDS_FROM: i64 = 1_000_000_000_000;

/// Appends `unix` as RFC 3339 in UTC, without quotes. `false`, and nothing appended, outside of the years 0 to 9999.
pub(crate) fn write_unix(out: &mut Vec<u8>, unix: i64) -> bool {
    let milliseconds = !(-MILLISECONDS_FROM..=MILLISECONDS_FROM).contains(&unix);
    let (seconds, nanoseconds) =
        if milliseconds { (unix.div_euclid(1000), unix.rem_euclid(1000) * 1_000_000) } else { (unix, 0) };
    let (year, month, day) = civil_from_days(seconds.div_euclid(86_400));
    if !(0..=9999).contains(&year) {
        return false;
    }
    let second_of_day = seconds.rem_euclid(86_400);
    write_rfc3339(
        out,
        &Moment {
            date: [year, month, day],
            time: [second_of_day / 3600, second_of_day / 60 % 60, second_of_day % 60],
            nanoseconds,
            offset_minutes: 0,
        },
    );
    true
}

/// Appends `text` as RFC 3339, keeping its offset, without quotes. `false`, and nothing appended, when it is no time.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) -> bool {
    match parse(text.strip_suffix('Z').unwrap_or(text).as_bytes()) {
        Some(moment) => {
            write_rfc3339(out, &moment);
            true
        }
        None => false,
    }
}

/// A time of day on a date, as written.
struct Moment {
    date: [i64; 3],
    time: [i64; 3],
    nanoseconds: i64,
    offset_minutes: i64,
}

fn write_rfc3339(out: &mut Vec<u8>, moment: &Moment) {
    let ([year, month, day], [hour, minute, second]) = (moment.date, moment.time);
    write!(out, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}").expect("a Vec takes every write");
    if moment.nanoseconds > 0 {
        write!(out, ".{:09}", moment.nanoseconds).expect("a Vec takes every write");
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    match moment.offset_minutes {
        0 => out.push(b'Z'),
        offset => {
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            write!(out, "{sign}{hours:02}:{minutes:02}").expect("a Vec takes every write");
        }
    }
}

/// `YYYY-MM-DD`, then perhaps `T` or a space, `HH:MM`, `:SS`, a fraction, and `±HH:MM` after seconds.
fn parse(text: &[u8]) -> Option<Moment> {
    let mut rest = text;
    let year = digits(&mut rest, 4, 4)?;
    let month = after(&mut rest, b"-").and_then(|()| digits(&mut rest, 2, 2))?;
    let day = after(&mut rest, b"-").and_then(|()| digits(&mut rest, 2, 2))?;
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let mut moment = Moment { date: [year, month, day], time: [0; 3], nanoseconds: 0, offset_minutes: 0 };
    if rest.is_empty() {
        return Some(moment);
    }
    after(&mut rest, b"T ")?;
    let hour = digits(&mut rest, 1, 2)?;
    let minute = after(&mut rest, b":").and_then(|()| digits(&mut rest, 2, 2))?;
    let has_seconds = after(&mut rest, b":").is_some();
    let second = if has_seconds { digits(&mut rest, 2, 2)? } else { 0 };
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    moment.time = [hour, minute, second];
    if has_seconds {
        moment.nanoseconds = fraction(&mut rest)?;
        moment.offset_minutes = offset(&mut rest)?;
    }
    rest.is_empty().then_some(moment)
}

/// A fraction of a second in nanoseconds; further digits are dropped. Zero without one.
fn fraction(rest: &mut &[u8]) -> Option<i64> {
    if after(rest, b".").is_none() {
        return Some(0);
    }
    let count = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let (all, remaining) = rest.split_at(count);
    *rest = remaining;
    let kept = &all[..count.min(9)];
    let number = kept.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    (count > 0).then(|| number * 10_i64.pow(9 - kept.len() as u32))
}

fn offset(rest: &mut &[u8]) -> Option<i64> {
    let sign = match rest.first() {
        None => return Some(0),
        Some(b'+') => 1,
        Some(b'-') => -1,
        Some(_) => return None,
    };
    *rest = &rest[1..];
    let hours = digits(rest, 2, 2)?;
    let minutes = after(rest, b":").and_then(|()| digits(rest, 2, 2))?;
    (hours <= 24 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

/// Takes one byte of `allowed`.
fn after(rest: &mut &[u8], allowed: &[u8]) -> Option<()> {
    let (first, remaining) = rest.split_first()?;
    allowed.contains(first).then(|| *rest = remaining)
}

/// Takes a number of `min` to `max` digits.
fn digits(rest: &mut &[u8], min: usize, max: usize) -> Option<i64> {
    let count = rest.iter().take(max).take_while(|b| b.is_ascii_digit()).count();
    if count < min {
        return None;
    }
    let (number, remaining) = rest.split_at(count);
    *rest = remaining;
    Some(number.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// The Gregorian date of a day counted from 1970-01-01 (H. Hinnant, "chrono-compatible low-level date algorithms").
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_text(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_text(&mut out, text).then(|| String::from_utf8(out).expect("ascii"))
    }

    fn of_unix(unix: i64) -> Option<String> {
        let mut out = Vec::new();
        write_unix(&mut out, unix).then(|| String::from_utf8(out).expect("ascii"))
    }

    #[test]
    fn text_times_become_rfc_3339_and_keep_their_offset() {
        for (text, expected) in [
            ("2024-02-29", "2024-02-29T00:00:00Z"),
            ("2024-02-29 12:34", "2024-02-29T12:34:00Z"),
            ("2024-02-29 12:34:56", "2024-02-29T12:34:56Z"),
            ("2024-02-29 12:34:56.789", "2024-02-29T12:34:56.789Z"),
            ("2024-02-29T12:34:56Z", "2024-02-29T12:34:56Z"),
            ("2024-02-29T12:34:56.123456+02:00", "2024-02-29T12:34:56.123456+02:00"),
            ("2024-02-29 12:34:56-07:30", "2024-02-29T12:34:56-07:30"),
            ("2024-02-29 12:34:56+00:00", "2024-02-29T12:34:56Z"),
            ("2024-02-29 12:34:56.100000000", "2024-02-29T12:34:56.1Z"),
        ] {
            assert_eq!(of_text(text).as_deref(), Some(expected));
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in ["", "garbage", "2023-02-29", "2024-13-01", "24-01-01", "2024-01-01T", "2024-01-01 25:00", "12:00"]
        {
            assert_eq!(of_text(text), None, "{text}");
        }
    }

    #[test]
    fn integers_count_seconds_and_large_ones_milliseconds() {
        assert_eq!(of_unix(0).as_deref(), Some("1970-01-01T00:00:00Z"));
        assert_eq!(of_unix(1_700_000_000).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(of_unix(1_700_000_000_123).as_deref(), Some("2023-11-14T22:13:20.123Z"));
        assert_eq!(of_unix(-1).as_deref(), Some("1969-12-31T23:59:59Z"));
        assert_eq!(of_unix(951_782_400).as_deref(), Some("2000-02-29T00:00:00Z"));
        assert_eq!(of_unix(i64::MAX), None);
    }
}
