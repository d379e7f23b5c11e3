//! Where peers may be found, by source: pure, with the time as an argument.
//!
//! A wrong address costs a dial and nothing else: the handshake proves who answers, and an address where somebody else
//! answered is left out for a while.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::Multiaddr;

use super::roster::Roster;
use crate::types::NodeId;
use crate::types::limits::{MESH_ADDRESSES_PER_PEER_MAX, MESH_HEARD_PEERS_MAX, MESH_HEARD_TTL};

/// Addresses of peers beyond those in the roster.
#[derive(Debug, Default)]
pub(super) struct AddressBook {
    /// From the configuration file.
    configured: HashMap<NodeId, Vec<Multiaddr>>,
    /// What a peer says of itself. Kept for connected peers and for those in the roster.
    identified: HashMap<NodeId, Vec<Multiaddr>>,
    /// Heard from trusted peers, or used with success; newest first.
    heard: HashMap<NodeId, Heard>,
    /// Where somebody else answered than expected, and until when that is remembered.
    doubted: HashMap<(NodeId, Multiaddr), Instant>,
}

/// Whether there are other addresses to try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Others {
    Left,
    None,
}

/// How long an address is left out after somebody else answered there: long enough to reach the peer elsewhere, short
/// enough for a peer that takes its old place again.
const DOUBT: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Heard {
    addresses: Vec<Multiaddr>,
    until: Instant,
}

impl AddressBook {
    /// Where to dial a peer, best first: the cluster's word, the operator's, the peer's own, hearsay. Doubtful addresses
    /// only if there are no others.
    pub(super) fn candidates(&self, node: NodeId, roster: &Roster, now: Instant) -> Vec<Multiaddr> {
        let all = self.known(node, roster, now);
        let doubtful =
            |address: &Multiaddr| self.doubted.get(&(node, address.clone())).is_some_and(|until| *until > now);
        let good: Vec<_> = all.iter().filter(|address| !doubtful(address)).cloned().collect();
        if good.is_empty() { all } else { good }
    }

    /// Somebody else answered at this address. Tells whether any address is left that is not in doubt.
    pub(super) fn doubt(&mut self, node: NodeId, address: &Multiaddr, roster: &Roster, now: Instant) -> Others {
        self.doubted.retain(|_, until| *until > now);
        // An address that is not in the book cannot be left out: whoever tried again would try the same.
        if self.doubted.len() >= MESH_HEARD_PEERS_MAX || !self.known(node, roster, now).contains(address) {
            return Others::None;
        }
        self.doubted.insert((node, address.clone()), now + DOUBT);
        // Without a good one all come back.
        if self.candidates(node, roster, now).iter().any(|other| other == address) {
            Others::None
        } else {
            Others::Left
        }
    }

    fn known(&self, node: NodeId, roster: &Roster, now: Instant) -> Vec<Multiaddr> {
        let heard = self.heard.get(&node).filter(|heard| heard.until > now).map(|heard| &heard.addresses[..]);
        let sources =
            [Some(roster.addresses(node)), slice(&self.configured, node), slice(&self.identified, node), heard];
        let mut candidates = Vec::new();
        for address in sources.into_iter().flatten().flat_map(|source| source.iter().take(MESH_ADDRESSES_PER_PEER_MAX))
        {
            if !candidates.contains(address) {
                candidates.push(address.clone());
            }
        }
        candidates
    }

    /// The operator says where a peer is.
    pub(super) fn configure(&mut self, node: NodeId, address: Multiaddr) {
        let addresses = self.configured.entry(node).or_default();
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }

    /// A connected peer says where it listens; replaces what it said before. Tells whether there is anything new.
    pub(super) fn identify(&mut self, node: NodeId, mut addresses: Vec<Multiaddr>) -> bool {
        addresses.truncate(MESH_ADDRESSES_PER_PEER_MAX);
        self.identified.insert(node, addresses.clone()).is_none_or(|before| before != addresses)
    }

    /// Forgets what a peer said of itself.
    pub(super) fn forget_identified(&mut self, node: NodeId) {
        self.identified.remove(&node);
    }

    /// Keeps an address that was heard or worked. When the cache is full the oldest peer makes room.
    pub(super) fn hear(&mut self, node: NodeId, address: Multiaddr, now: Instant) {
        if !self.heard.contains_key(&node) && self.heard.len() >= MESH_HEARD_PEERS_MAX {
            let oldest = self.heard.iter().min_by_key(|(_, heard)| heard.until).map(|(node, _)| *node);
            oldest.map(|node| self.heard.remove(&node));
        }
        let until = now + MESH_HEARD_TTL;
        let heard = self.heard.entry(node).or_insert_with(|| Heard { addresses: Vec::new(), until });
        heard.until = until;
        heard.addresses.retain(|known| *known != address);
        heard.addresses.insert(0, address);
        heard.addresses.truncate(MESH_ADDRESSES_PER_PEER_MAX);
    }
}

fn slice(source: &HashMap<NodeId, Vec<Multiaddr>>, node: NodeId) -> Option<&[Multiaddr]> {
    source.get(&node).map(Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u64) -> Multiaddr {
        format!("/ip4/10.0.0.1/tcp/{port}").parse().expect("a multiaddr")
    }

    #[test]
    fn candidates_come_in_order_of_trust_and_once() {
        let (node, now) = (NodeId::from(1), Instant::now());
        let roster = Roster::new([(node, vec![address(1).to_string()])].into(), HashMap::new(), NodeId::from(9));
        let mut book = AddressBook::default();
        book.hear(node, address(4), now);
        book.hear(node, address(2), now);
        assert!(book.identify(node, vec![address(3), address(1)]));
        assert!(!book.identify(node, vec![address(3), address(1)]), "nothing new");
        book.configure(node, address(2));
        assert_eq!(book.candidates(node, &roster, now), [1, 2, 3, 4].map(address));
        book.forget_identified(node);
        assert_eq!(book.candidates(node, &roster, now), [1, 2, 4].map(address));
    }

    #[test]
    fn an_address_where_somebody_else_answers_makes_way_for_the_others() {
        let (node, now) = (NodeId::from(1), Instant::now());
        let texts = vec![address(1).to_string(), address(2).to_string()];
        let roster = Roster::new([(node, texts)].into(), HashMap::new(), NodeId::from(9));
        let mut book = AddressBook::default();
        assert_eq!(book.doubt(node, &address(1), &roster, now), Others::Left);
        assert_eq!(book.candidates(node, &roster, now), [address(2)]);
        assert_eq!(book.doubt(node, &address(2), &roster, now), Others::None);
        assert_eq!(book.doubt(node, &address(3), &roster, now), Others::None, "not in the book");
        assert_eq!(book.candidates(node, &roster, now).len(), 2, "better a doubtful address than none");
        assert_eq!(book.candidates(node, &roster, now + DOUBT).len(), 2);
    }

    #[test]
    fn hearsay_is_believed_for_a_day() {
        let (node, now) = (NodeId::from(1), Instant::now());
        let mut book = AddressBook::default();
        book.hear(node, address(1), now);
        assert!(!book.candidates(node, &Roster::default(), now).is_empty());
        assert!(book.candidates(node, &Roster::default(), now + MESH_HEARD_TTL).is_empty());
    }

    #[test]
    fn no_peer_can_fill_the_book() {
        let now = Instant::now();
        let mut book = AddressBook::default();
        for number in 0..MESH_HEARD_PEERS_MAX as u64 + 10 {
            book.hear(NodeId::from(number), address(1), now + std::time::Duration::from_nanos(number));
        }
        assert_eq!(book.heard.len(), MESH_HEARD_PEERS_MAX);
        assert!(!book.heard.contains_key(&NodeId::from(0)), "the oldest made room");
        for port in 0..100 {
            book.hear(NodeId::from(99), address(port), now);
        }
        book.identify(NodeId::from(98), (0..100).map(address).collect());
        for number in [98, 99] {
            let candidates = book.candidates(NodeId::from(number), &Roster::default(), now);
            assert!(candidates.len() <= 2 * MESH_ADDRESSES_PER_PEER_MAX);
        }
    }
}
