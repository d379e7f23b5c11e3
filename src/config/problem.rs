//! One thing that is wrong with a configuration, told so that it can be mended without the manual.

use std::fmt;

use super::origin::Origin;

/// A wrong value, at its path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as `section.key` or `section.key[2]`.
    pub path: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What would be right.
    pub hint: Option<String>,
    /// Who set the value; `None` for a default or for a problem of several keys.
    pub origin: Option<Origin>,
}

impl Problem {
    /// A problem without a hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { path: path.into(), message: message.into(), hint: None, origin: None }
    }

    /// The same with its remedy.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Problem {
        Problem { hint: Some(hint.into()), ..self }
    }

    /// The same with the one who set the value.
    #[must_use]
    pub fn origin(self, origin: Origin) -> Problem {
        Problem { origin: Some(origin), ..self }
    }

    /// The key without the position in a list.
    pub fn key(&self) -> &str {
        self.path.split('[').next().unwrap_or(&self.path)
    }
}

/// `path: message; hint (from ORIGIN)`.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        match &self.origin {
            Some(origin) if *origin != Origin::Default => write!(f, " (from {origin})"),
            _ => Ok(()),
        }
    }
}

/// The problems found so far, with the rules that many keys share.
#[derive(Debug, Default)]
pub(super) struct Problems(pub(super) Vec<Problem>);

impl Problems {
    pub(super) fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }

    pub(super) fn positive(&mut self, path: &str, is_positive: bool, value: impl fmt::Display) {
        if !is_positive {
            self.add(Problem::new(path, format!("must be > 0; got {value}")));
        }
    }

    pub(super) fn no_duplicates<T: PartialEq + fmt::Display>(&mut self, path: &str, what: &str, items: &[T]) {
        for (position, item) in items.iter().enumerate() {
            if items[..position].contains(item) {
                self.add(Problem::new(format!("{path}[{position}]"), format!("{what} {item}")));
            }
        }
    }
}
