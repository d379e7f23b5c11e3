//! Hex digits: how addresses, hashes and signatures are written.

use std::fmt::Write;

/// `bytes` as lower-case hex digits.
pub fn encode(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what is written to it");
        text
    })
}

/// The bytes behind exactly `2 * N` hex digits of either case; `None` for every other text.
pub fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    // The digits are checked first, because the parser below would take a sign.
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_either_case_are_read_and_nothing_else() {
        assert_eq!(decode::<2>("0aFf"), Some([0x0a, 0xff]));
        assert_eq!(encode(&[0x0a, 0xff]), "0aff");
        for bad in ["", "0", "0af", "0afff", "+a+f", "0x0a", "0a f", "0aé"] {
            assert_eq!(decode::<2>(bad), None, "{bad:?} was read");
        }
    }
}
