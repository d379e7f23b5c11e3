//! Who is there: members that sockets of this process have named, and those that other processes tell of.
//!
//! Soft state. Every process tells all it has every few seconds, and what changes at once; who is not heard of for longer
//! is taken for dead, with its members.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::frame::News;
use crate::types::{Namespace, NodeId, Topic};

/// How often a process tells all it has.
pub(super) const TELL_EVERY: Duration = Duration::from_secs(3);

/// A process that has not been heard of for so long is dead.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(10);

/// How often that is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Somebody in a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the client calls it.
    pub id: String,
    /// What the client says of it: a JSON text.
    pub meta: Option<String>,
    /// Since when, in seconds since 1970.
    pub joined_at: i64,
}

type Place = (Namespace, Topic);

/// What another process has told.
#[derive(Debug, Default)]
struct Remote {
    topics: HashSet<Place>,
    members: HashMap<Place, BTreeMap<String, Member>>,
    heard: Option<Instant>,
    /// What is being told anew, piece by piece.
    fresh: Option<Box<Remote>>,
}

impl Remote {
    fn note(&mut self, news: &News) {
        for (namespace, topic, there) in &news.topics {
            let place = (namespace.clone(), topic.clone());
            if *there {
                self.topics.insert(place)
            } else {
                self.topics.remove(&place)
            };
        }
        for (namespace, topic, member, there) in &news.members {
            let place = (namespace.clone(), topic.clone());
            let members = self.members.entry(place.clone()).or_default();
            if *there {
                members.insert(member.id.clone(), member.clone());
            } else {
                members.remove(&member.id);
            }
            if members.is_empty() {
                self.members.remove(&place);
            }
        }
    }
}

/// Everybody, as far as this process knows.
#[derive(Debug, Default)]
pub(super) struct Presence {
    /// Who is here, and by how many sockets.
    here: HashMap<Place, BTreeMap<String, (Member, usize)>>,
    elsewhere: HashMap<NodeId, Remote>,
}

impl Presence {
    /// A socket names a member; whether it was not here before.
    pub(super) fn join(&mut self, place: Place, member: Member) -> bool {
        let (_, sockets) = self.here.entry(place).or_default().entry(member.id.clone()).or_insert_with(|| (member, 0));
        *sockets += 1;
        *sockets == 1
    }

    /// A socket goes; the member, if it was its last.
    pub(super) fn leave(&mut self, place: &Place, id: &str) -> Option<Member> {
        let members = self.here.get_mut(place)?;
        let (_, sockets) = members.get_mut(id)?;
        *sockets -= 1;
        if *sockets > 0 {
            return None;
        }
        let (member, _) = members.remove(id)?;
        if members.is_empty() {
            self.here.remove(place);
        }
        Some(member)
    }

    /// Everybody in a topic, by id; who is there several times since the first.
    pub(super) fn members(&self, place: &Place) -> Vec<Member> {
        let here = self.here.get(place).into_iter().flat_map(|members| members.values().map(|(member, _)| member));
        let elsewhere = self.elsewhere.values().filter_map(|remote| remote.members.get(place));
        let mut all = BTreeMap::<&str, &Member>::new();
        for member in here.chain(elsewhere.flat_map(|members| members.values())) {
            let known = all.entry(&member.id).or_insert(member);
            if member.joined_at < known.joined_at {
                *known = member;
            }
        }
        all.into_values().cloned().collect()
    }

    /// Topics of a namespace with a subscriber in another process.
    pub(super) fn topics_elsewhere(&self, namespace: &Namespace) -> impl Iterator<Item = &Topic> {
        let all = self.elsewhere.values().flat_map(|remote| &remote.topics);
        let namespace = namespace.clone();
        all.filter(move |(of, _)| *of == namespace).map(|(_, topic)| topic)
    }

    /// Everybody who is here.
    pub(super) fn all_here(&self) -> Vec<(Namespace, Topic, Member, bool)> {
        let place = |((namespace, topic), members): (&Place, &BTreeMap<String, (Member, usize)>)| {
            let member = |(member, _): &(Member, usize)| (namespace.clone(), topic.clone(), member.clone(), true);
            members.values().map(member).collect::<Vec<_>>()
        };
        self.here.iter().flat_map(place).collect()
    }

    /// Another process has told something.
    pub(super) fn note(&mut self, from: NodeId, news: &News, now: Instant) {
        let remote = self.elsewhere.entry(from).or_default();
        remote.heard = Some(now);
        match news.whole {
            None => {
                remote.note(news);
                if let Some(fresh) = &mut remote.fresh {
                    fresh.note(news);
                }
            }
            Some(piece) => {
                if piece.first {
                    remote.fresh = Some(Box::default());
                }
                let Some(mut fresh) = remote.fresh.take() else { return };
                fresh.note(news);
                if piece.last {
                    *remote = Remote { heard: remote.heard, ..*fresh };
                } else {
                    remote.fresh = Some(fresh);
                }
            }
        }
    }

    /// Forgets processes that are silent; who was there only.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<(Place, Member)> {
        let silent = |remote: &Remote| remote.heard.is_none_or(|heard| now.duration_since(heard) > SILENCE_MAX);
        let dead: Vec<NodeId> =
            self.elsewhere.iter().filter(|(_, remote)| silent(remote)).map(|(node, _)| *node).collect();
        let gone: Vec<Remote> = dead.iter().filter_map(|node| self.elsewhere.remove(node)).collect();
        let mut left = Vec::new();
        for (place, members) in gone.into_iter().flat_map(|remote| remote.members) {
            let still: HashSet<String> = self.members(&place).into_iter().map(|member| member.id).collect();
            let only = members.into_values().filter(|member| !still.contains(&member.id));
            left.extend(only.map(|member| (place.clone(), member)));
        }
        left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pubsub::frame::Piece;

    fn place(topic: &str) -> Place {
        (Namespace::default_namespace(), topic.parse().expect("a topic"))
    }

    fn member(id: &str, joined_at: i64) -> Member {
        Member { id: id.to_owned(), meta: None, joined_at }
    }

    fn news(whole: Option<Piece>, ids: &[&str], there: bool) -> News {
        let (namespace, topic) = place("t");
        let members = ids.iter().map(|id| (namespace.clone(), topic.clone(), member(id, 5), there)).collect();
        News { whole, topics: vec![(namespace, topic, there)], members }
    }

    fn ids(presence: &Presence) -> Vec<String> {
        presence.members(&place("t")).into_iter().map(|member| member.id).collect()
    }

    #[test]
    fn a_member_is_there_until_its_last_socket_goes() {
        let mut presence = Presence::default();
        assert!(presence.join(place("t"), member("a", 1)));
        assert!(!presence.join(place("t"), member("a", 2)));
        assert_eq!(presence.members(&place("t")), [member("a", 1)]);
        assert_eq!(presence.leave(&place("t"), "a"), None);
        assert_eq!(presence.leave(&place("t"), "a"), Some(member("a", 1)));
        assert_eq!(presence.leave(&place("t"), "a"), None);
        assert!(presence.here.is_empty());
    }

    #[test]
    fn others_tell_changes_and_everything_anew() {
        let (one, now) = (NodeId::from(1), Instant::now());
        let mut presence = Presence::default();
        presence.join(place("t"), member("here", 1));
        presence.note(one, &news(None, &["a", "b"], true), now);
        assert_eq!(ids(&presence), ["a", "b", "here"]);
        assert_eq!(presence.topics_elsewhere(&place("t").0).count(), 1);
        presence.note(one, &news(None, &["a"], false), now);
        assert_eq!(ids(&presence), ["b", "here"]);
        let piece = |first, last| Some(Piece { first, last });
        presence.note(one, &news(piece(true, false), &["c"], true), now);
        assert_eq!(ids(&presence), ["b", "here"], "half of it is nothing");
        presence.note(one, &news(None, &["x"], true), now);
        presence.note(one, &news(piece(false, true), &["d"], true), now);
        assert_eq!(ids(&presence), ["c", "d", "here", "x"]);
    }

    #[test]
    fn who_is_silent_is_gone_with_those_who_were_only_there() {
        let (one, two, now) = (NodeId::from(1), NodeId::from(2), Instant::now());
        let mut presence = Presence::default();
        presence.note(one, &news(None, &["a", "b"], true), now);
        presence.note(two, &news(None, &["b"], true), now + SILENCE_MAX);
        assert!(presence.expire(now + SILENCE_MAX).is_empty());
        let later = now + SILENCE_MAX + Duration::from_secs(1);
        assert_eq!(presence.expire(later), [(place("t"), member("a", 5))]);
        assert_eq!(ids(&presence), ["b"]);
    }
}
