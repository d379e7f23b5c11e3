//! Topics, and patterns that subscribe to many of them.
//!
//! A topic is any text; its levels are what stands between dots. A pattern is a topic in which a level `*` stands for
//! any one level, and `>` as the last level for one level or more, as in NATS. No topic has such a level, so a text is
//! either the one or the other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::limits::TOPIC_BYTES_MAX;
use super::names::Namespace;

/// A topic: 1 to 256 bytes of UTF-8 without control characters and without the levels `*` and `>`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic(Arc<str>);

/// A text that is no topic, or no pattern.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum InvalidTopic {
    /// Empty, or too long.
    #[error("a topic has 1 to {TOPIC_BYTES_MAX} bytes, this one has {bytes}")]
    Length {
        /// How long it is.
        bytes: usize,
    },
    /// It has a line break or the like.
    #[error("topic {text:?} has a control character")]
    Control {
        /// The text.
        text: String,
    },
    /// It is a pattern where one topic is asked for.
    #[error("`{text}` is a pattern: `*` and `>` stand for other levels; name one topic")]
    Pattern {
        /// The text.
        text: String,
    },
    /// `>` stands before the end.
    #[error("`{text}`: `>` stands for the rest of a topic, so it can only be the last level")]
    RestNotLast {
        /// The text.
        text: String,
    },
}

const ANY: &str = "*";
const REST: &str = ">";

fn check(text: &str) -> Result<(), InvalidTopic> {
    if !(1..=TOPIC_BYTES_MAX).contains(&text.len()) {
        return Err(InvalidTopic::Length { bytes: text.len() });
    }
    if text.chars().any(char::is_control) {
        return Err(InvalidTopic::Control { text: text.to_owned() });
    }
    Ok(())
}

fn has_wildcards(text: &str) -> bool {
    text.split('.').any(|level| level == ANY || level == REST)
}

impl Topic {
    /// The topic's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name that no topic of another namespace has: `ns::<namespace>::<topic>`. A namespace contains no `:`.
    pub fn qualified(&self, namespace: &Namespace) -> String {
        format!("ns::{namespace}::{self}")
    }
}

impl FromStr for Topic {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<Topic, InvalidTopic> {
        check(text)?;
        if has_wildcards(text) {
            return Err(InvalidTopic::Pattern { text: text.to_owned() });
        }
        Ok(Topic(Arc::from(text)))
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl Serialize for Topic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Topic, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a subscription asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicFilter {
    /// One topic.
    One(Topic),
    /// All topics that fit.
    Pattern(TopicPattern),
}

impl TopicFilter {
    /// Its text.
    pub fn as_str(&self) -> &str {
        match self {
            TopicFilter::One(topic) => topic.as_str(),
            TopicFilter::Pattern(pattern) => &pattern.0,
        }
    }

    /// Whether it asks for this topic.
    pub fn matches(&self, topic: &Topic) -> bool {
        match self {
            TopicFilter::One(one) => one == topic,
            TopicFilter::Pattern(pattern) => pattern.matches(topic),
        }
    }
}

impl FromStr for TopicFilter {
    type Err = InvalidTopic;

    fn from_str(text: &str) -> Result<TopicFilter, InvalidTopic> {
        check(text)?;
        if !has_wildcards(text) {
            return Ok(TopicFilter::One(Topic(Arc::from(text))));
        }
        let mut levels = text.rsplit('.').skip(1);
        if levels.any(|level| level == REST) {
            return Err(InvalidTopic::RestNotLast { text: text.to_owned() });
        }
        Ok(TopicFilter::Pattern(TopicPattern(Arc::from(text))))
    }
}

/// A topic with levels that stand for others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicPattern(Arc<str>);

impl TopicPattern {
    /// Whether a topic fits.
    pub fn matches(&self, topic: &Topic) -> bool {
        let mut levels = topic.as_str().split('.');
        for wanted in self.0.split('.') {
            match (wanted, levels.next()) {
                (_, None) => return false,
                (REST, Some(_)) => return true,
                (wanted, Some(level)) if wanted != ANY && wanted != level => return false,
                _ => {}
            }
        }
        levels.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, topic: &str) -> bool {
        let filter: TopicFilter = pattern.parse().expect("a filter");
        filter.matches(&topic.parse().expect("a topic"))
    }

    #[test]
    fn a_star_is_one_level_and_a_greater_than_the_rest() {
        assert!(matches("a.*.c", "a.b.c") && matches("*", "a") && matches("*.*", "a."));
        assert!(!matches("a.*", "a") && !matches("a.*", "a.b.c") && !matches("*", "a.b"));
        assert!(matches("a.>", "a.b") && matches("a.>", "a.b.c") && matches(">", "a") && matches("*.>", "a.b"));
        assert!(!matches("a.>", "a") && !matches("a.>", "b.c"));
        assert!(matches("a", "a") && !matches("a", "a.b"));
        assert!(matches("a*.b", "a*.b") && !matches("a*.b", "ax.b"), "a star within a level is a character");
    }

    #[test]
    fn what_is_neither_topic_nor_pattern_is_told_apart() {
        assert_eq!("".parse::<Topic>(), Err(InvalidTopic::Length { bytes: 0 }));
        assert_eq!("x".repeat(257).parse::<TopicFilter>(), Err(InvalidTopic::Length { bytes: 257 }));
        assert!(matches!("a\nb".parse::<Topic>(), Err(InvalidTopic::Control { .. })));
        assert!(matches!("a.*".parse::<Topic>(), Err(InvalidTopic::Pattern { .. })));
        assert!(matches!("a.>.b".parse::<TopicFilter>(), Err(InvalidTopic::RestNotLast { .. })));
        for text in ["chat room/1", "ns::other::x", "..", "a.b", "ü", "*x", "x>"] {
            assert_eq!(text.parse::<Topic>().expect("a topic").as_str(), text);
        }
    }
}
