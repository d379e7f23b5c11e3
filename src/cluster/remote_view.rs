//! What a process without data knows of its cluster, and what follows from it: who leads, whom to ask next. Pure.
//!
//! It believes nodes in the order of what they can know. Of two lists of members it takes the newer one, of two terms
//! the higher one. That a node leads it believes that node at once, others only as long as it has not found out
//! otherwise in that term: after a leader's death its followers name it for another second.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::peer_api::MemberList;
use super::view::{Member, Suffrage};
use crate::types::NodeId;

/// The cluster, as far as it is known.
#[derive(Debug, Default)]
pub(super) struct RemoteView {
    version: (u64, u64),
    members: BTreeMap<NodeId, Member>,
    /// Nodes whose last question was answered.
    answering: BTreeSet<NodeId>,
    /// Nodes that say that this process does not belong to the cluster.
    refusing: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    /// The highest term in which somebody was said to lead.
    term: u64,
    /// It was said to lead in this term, and does not, or cannot be reached.
    suspect: Option<(NodeId, u64)>,
    /// A quorum follows the leader, as the leader says.
    quorum: bool,
    last_good: Option<NodeId>,
}

/// A node that a read may be sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Connected {
    pub(super) node: NodeId,
    /// Last measured round trip, in whole milliseconds: a smaller difference is noise.
    pub(super) rtt_ms: u64,
}

impl RemoteView {
    /// Before anybody has answered: nodes and where they were.
    pub(super) fn new(nodes: &HashMap<NodeId, Vec<String>>) -> RemoteView {
        let member = |(node, addresses): (&NodeId, &Vec<String>)| {
            let member = Member {
                node: *node,
                suffrage: Suffrage::Voter,
                addresses: addresses.clone(),
                sql_address: String::new(),
                version: String::new(),
            };
            (*node, member)
        };
        RemoteView { members: nodes.iter().map(member).collect(), ..RemoteView::default() }
    }

    /// A node has said what it knows.
    pub(super) fn heard(&mut self, from: NodeId, list: MemberList) {
        self.answering.insert(from);
        self.refusing.remove(&from);
        self.hear_leader(from, list.term, list.leader);
        if self.leader == Some(from) {
            self.quorum = list.quorum;
        }
        // A node that has not begun to follow the log knows nobody.
        let knows_nodes = list.members.iter().any(|member| member.suffrage != Suffrage::Gateway);
        if knows_nodes && list.version >= self.version {
            self.version = list.version;
            self.members = list.members.into_iter().map(|member| (member.node, member)).collect();
        }
        // The last words of a node that was removed, too.
        let members = &self.members;
        self.answering.retain(|node| members.contains_key(node));
        self.refusing.retain(|node| members.contains_key(node));
    }

    fn hear_leader(&mut self, from: NodeId, term: u64, leader: Option<NodeId>) {
        let Some(leader) = leader else {
            if self.leader == Some(from) && term >= self.term {
                self.not_leader(from, None);
            }
            return;
        };
        let believed = leader == from || self.suspect.is_none_or(|(suspect, until)| suspect != leader || term > until);
        let newer = term > self.term || (term == self.term && (self.leader.is_none() || leader == from));
        if newer && believed {
            self.term = term;
            self.suspect = None;
            if self.leader != Some(leader) {
                self.leader = Some(leader);
                self.quorum = false;
            }
        }
    }

    /// The node believed to lead says that it does not, and perhaps who does.
    pub(super) fn not_leader(&mut self, asked: NodeId, hint: Option<NodeId>) {
        if self.leader == Some(asked) {
            self.quorum = false;
            self.suspect = Some((asked, self.term));
            self.leader = hint.filter(|hint| *hint != asked && self.members.contains_key(hint));
        }
    }

    /// A node does not answer any more.
    pub(super) fn unheard(&mut self, node: NodeId) {
        self.answering.remove(&node);
        self.last_good = self.last_good.filter(|good| *good != node);
        self.not_leader(node, None);
    }

    /// A node does not admit this process.
    pub(super) fn refused(&mut self, node: NodeId) {
        self.unheard(node);
        self.refusing.insert(node);
    }

    /// A node has answered a read.
    pub(super) fn good(&mut self, node: NodeId) {
        self.last_good = Some(node);
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader
    }

    /// Whether the leader answers, and a quorum answers the leader.
    pub(super) fn writable(&self) -> bool {
        self.quorum && self.leader.is_some_and(|leader| self.answering.contains(&leader))
    }

    pub(super) fn answering(&self) -> usize {
        self.answering.len()
    }

    /// Whether the nodes that say anything at all say that this process does not belong to the cluster.
    pub(super) fn is_refused(&self) -> bool {
        self.answering.is_empty() && !self.refusing.is_empty()
    }

    pub(super) fn member(&self, node: NodeId) -> Option<&Member> {
        self.members.get(&node)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &Member> + '_ {
        self.members.values()
    }

    /// Members that store data, and where they are.
    pub(super) fn nodes(&self) -> HashMap<NodeId, Vec<String>> {
        let nodes = self.members.values().filter(|member| member.suffrage != Suffrage::Gateway);
        nodes.map(|member| (member.node, member.addresses.clone())).collect()
    }

    /// Whom to send a read to that anybody can answer, after `tried` could not: who answered last, then the nearest.
    /// Among equals each process begins elsewhere. A node without a connection is better than none.
    pub(super) fn next_reader(&self, own: NodeId, connected: &[Connected], tried: &[NodeId]) -> Option<NodeId> {
        let rank = |member: &&Member| {
            let rtt = connected.iter().find(|peer| peer.node == member.node).map(|peer| peer.rtt_ms);
            (
                rtt.is_none(),
                !self.answering.contains(&member.node),
                self.last_good != Some(member.node),
                // A learner may still be far behind.
                member.suffrage != Suffrage::Voter,
                rtt,
                distance(own, member.node),
            )
        };
        let nodes = self.members.values().filter(|member| member.suffrage != Suffrage::Gateway);
        nodes.filter(|member| !tried.contains(&member.node)).min_by_key(rank).map(|member| member.node)
    }
}

/// Another order of the nodes for each process.
fn distance(own: NodeId, node: NodeId) -> [u8; 32] {
    let mut distance = *own.public_key();
    distance.iter_mut().zip(node.public_key()).for_each(|(own, other)| *own ^= other);
    distance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(number: u64) -> NodeId {
        NodeId::from(number)
    }

    fn member(number: u64, suffrage: Suffrage) -> Member {
        Member {
            node: node(number),
            suffrage,
            addresses: vec![format!("/ip4/10.0.0.{number}/tcp/4001")],
            sql_address: String::new(),
            version: String::new(),
        }
    }

    fn list(term: u64, leader: Option<u64>) -> MemberList {
        MemberList {
            version: (1, 1),
            term,
            leader: leader.map(node),
            quorum: true,
            members: (1..=3).map(|number| member(number, Suffrage::Voter)).collect(),
        }
    }

    /// Three nodes, of which the first leads in term 1, as all have said.
    fn view() -> RemoteView {
        let mut view = RemoteView::new(&(1..=3).map(|number| (node(number), Vec::new())).collect());
        (1..=3).for_each(|number| view.heard(node(number), list(1, Some(1))));
        assert_eq!(view.leader(), Some(node(1)));
        assert!(view.writable());
        view
    }

    fn connected(numbers: &[(u64, u64)]) -> Vec<Connected> {
        numbers.iter().map(|(number, rtt_ms)| Connected { node: node(*number), rtt_ms: *rtt_ms }).collect()
    }

    #[test]
    fn a_dead_leader_is_not_believed_in_because_its_followers_still_name_it() {
        let mut view = view();
        view.unheard(node(1));
        assert_eq!(view.leader(), None);
        view.heard(node(2), list(1, Some(1)));
        assert_eq!(view.leader(), None, "an echo");
        view.heard(node(3), list(2, Some(2)));
        assert_eq!(view.leader(), Some(node(2)));
        assert!(!view.writable(), "the new leader has not spoken yet");
        view.heard(node(2), list(2, Some(2)));
        assert!(view.writable());
        view.heard(node(1), list(1, Some(1)));
        assert_eq!(view.leader(), Some(node(2)), "an earlier term's leader that does not know it yet");
    }

    #[test]
    fn a_leader_that_was_cut_off_for_a_moment_is_believed_when_it_says_so_itself() {
        let mut view = view();
        view.unheard(node(1));
        view.heard(node(1), list(1, Some(1)));
        assert_eq!(view.leader(), Some(node(1)));
        view.unheard(node(1));
        view.heard(node(2), list(3, Some(1)));
        assert_eq!(view.leader(), Some(node(1)), "it was elected again");
    }

    #[test]
    fn a_leader_that_steps_down_names_its_successor() {
        let mut view = view();
        view.not_leader(node(1), Some(node(3)));
        assert_eq!(view.leader(), Some(node(3)));
        assert!(!view.writable(), "that is hearsay");
        view.not_leader(node(1), None);
        assert_eq!(view.leader(), Some(node(3)), "news about a leader of the past");
        view.not_leader(node(3), Some(node(9)));
        assert_eq!(view.leader(), None, "nobody knows that node");
        view.heard(node(3), list(2, Some(3)));
        view.heard(node(3), list(2, None));
        assert_eq!(view.leader(), None, "it says so itself");
    }

    #[test]
    fn the_newer_list_of_members_is_kept() {
        let mut view = view();
        let mut newer = list(1, Some(1));
        newer.version = (7, 9);
        newer.members = vec![member(1, Suffrage::Voter), member(4, Suffrage::Learner), member(5, Suffrage::Gateway)];
        view.heard(node(1), newer);
        view.heard(node(2), list(1, Some(1)));
        assert_eq!(view.answering(), 1, "the second is no member any more");
        let mut nodes: Vec<NodeId> = view.nodes().into_keys().collect();
        nodes.sort();
        assert_eq!(nodes, [node(1), node(4)], "gateways store nothing");
        assert_eq!(view.members().count(), 3);
        let mut nobody = list(1, None);
        nobody.version = (u64::MAX, 0);
        nobody.members.clear();
        view.heard(node(4), nobody);
        assert_eq!(view.nodes().len(), 2, "a node that knows nobody has nothing to say");
    }

    #[test]
    fn a_read_goes_to_the_last_good_node_then_to_the_nearest_then_to_anybody() {
        let mut view = view();
        let near_and_far = connected(&[(1, 9), (2, 0)]);
        let next = |view: &RemoteView, tried: &[NodeId]| view.next_reader(node(0), &near_and_far, tried);
        assert_eq!(next(&view, &[]), Some(node(2)));
        view.good(node(1));
        assert_eq!(next(&view, &[]), Some(node(1)));
        assert_eq!(next(&view, &[node(1)]), Some(node(2)));
        assert_eq!(next(&view, &[node(1), node(2)]), Some(node(3)), "it may be dialled");
        assert_eq!(next(&view, &[node(1), node(2), node(3)]), None);
        view.unheard(node(1));
        assert_eq!(next(&view, &[]), Some(node(2)));
        view.unheard(node(2));
        assert_eq!(view.next_reader(node(0), &near_and_far, &[]), Some(node(2)), "connected, and nearer");
    }

    #[test]
    fn equal_nodes_share_the_processes_that_ask() {
        let view = view();
        let equal = connected(&[(1, 0), (2, 0), (3, 0)]);
        let first: BTreeSet<_> = (1..=3).filter_map(|own| view.next_reader(node(own), &equal, &[])).collect();
        assert_eq!(first.len(), 3);
    }

    #[test]
    fn a_process_knows_that_it_was_removed() {
        let mut view = view();
        (1..=3).for_each(|number| view.unheard(node(number)));
        assert!(!view.is_refused(), "silence says nothing");
        view.refused(node(2));
        assert!(view.is_refused());
        view.heard(node(2), list(2, None));
        assert!(!view.is_refused());
    }
}
