//! Numbers as Go's `encoding/json` prints them, because rqlite's clients compare text.
//!
//! A float is its shortest round-trip digits: plain from 1e-6 up to 1e21, otherwise with an exponent that has a sign
//! when positive and no leading zero. A whole number has no `.0`.

/// A float that JSON cannot hold. The text is Go's name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("json: unsupported value: {0}")]
pub(super) struct NotFinite(pub(super) &'static str);

/// Appends an integer.
pub(super) fn write_integer(out: &mut Vec<u8>, number: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends an unsigned integer.
pub(super) fn write_unsigned(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a float.
///
/// # Errors
/// [`NotFinite`] for an infinity or NaN; nothing is appended.
pub(super) fn write_float(out: &mut Vec<u8>, number: f64) -> Result<(), NotFinite> {
    if !number.is_finite() {
        return Err(NotFinite(match number {
            n if n.is_nan() => "NaN",
            n if n > 0.0 => "+Inf",
            _ => "-Inf",
        }));
    }
    if number.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = number.abs();
    if magnitude == 0.0 {
        out.push(b'0');
        return Ok(());
    }
    let mut buffer = ryu::Buffer::new();
    let (digits, count, point) = decimal(buffer.format_finite(magnitude));
    let digits = &digits[..count];
    if !(1e-6..1e21).contains(&magnitude) {
        write_exponent(out, digits, point - 1);
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + point.unsigned_abs() as usize, b'0');
        out.extend_from_slice(digits);
    } else if point as usize >= count {
        out.extend_from_slice(digits);
        out.resize(out.len() + point as usize - count, b'0');
    } else {
        out.extend_from_slice(&digits[..point as usize]);
        out.push(b'.');
        out.extend_from_slice(&digits[point as usize..]);
    }
    Ok(())
}

fn write_exponent(out: &mut Vec<u8>, digits: &[u8], exponent: i32) {
    out.push(digits[0]);
    if digits.len() > 1 {
        out.push(b'.');
        out.extend_from_slice(&digits[1..]);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    write_unsigned(out, u64::from(exponent.unsigned_abs()));
}

/// Takes `12.5`, `1e21` or `1.25e-7` apart: significant digits, how many, and where the point stands relative to them.
fn decimal(text: &str) -> ([u8; 24], usize, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().expect("ryu prints a small exponent");
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = [0; 24];
    let mut count = 0;
    let mut point = whole.len() as i32 + exponent;
    for byte in whole.bytes().chain(fraction.bytes()) {
        if count == 0 && byte == b'0' {
            point -= 1;
        } else {
            digits[count] = byte;
            count += 1;
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    (digits, count, point)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(number: f64) -> String {
        let mut out = Vec::new();
        write_float(&mut out, number).expect("finite");
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn floats_are_printed_as_go_prints_them() {
        for (number, expected) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (10.5, "10.5"),
            (100.0, "100"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e300, "1.5e+300"),
            (1e-6, "0.000001"),
            (1.25e-6, "0.00000125"),
            (1e-7, "1e-7"),
            (1.25e-17, "1.25e-17"),
            (123456.789, "123456.789"),
            (2.5e10, "25000000000"),
            (-2.5, "-2.5"),
            (-0.0, "-0"),
            (9007199254740993.0, "9007199254740992"),
            (0.30000000000000004, "0.30000000000000004"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
        ] {
            assert_eq!(text(number), expected);
        }
    }

    #[test]
    fn an_infinity_is_refused_by_its_go_name() {
        let mut out = Vec::new();
        assert_eq!(write_float(&mut out, f64::INFINITY), Err(NotFinite("+Inf")));
        assert_eq!(write_float(&mut out, f64::NEG_INFINITY), Err(NotFinite("-Inf")));
        assert!(out.is_empty());
    }

    proptest::proptest! {
        #[test]
        fn every_printed_float_reads_back_the_same(bits: u64) {
            let number = f64::from_bits(bits);
            if number.is_finite() {
                proptest::prop_assert_eq!(text(number).parse::<f64>().expect("a number").to_bits(), bits);
            }
        }
    }
}
