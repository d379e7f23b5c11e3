//! Who belongs to the cluster, as the node above last said.

use std::collections::HashMap;

use libp2p::Multiaddr;

use super::address::PeerAddress;
use super::protocol::Standing;
use crate::types::NodeId;

/// Members and gateways with their published addresses. Replaced as a whole, read by every connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Roster {
    peers: HashMap<NodeId, (Standing, Vec<Multiaddr>)>,
}

impl Roster {
    /// Texts that are no addresses are left out: they come from other nodes, and one bad entry must not hide the rest.
    pub(super) fn new(
        members: HashMap<NodeId, Vec<String>>,
        gateways: HashMap<NodeId, Vec<String>>,
        own: NodeId,
    ) -> Roster {
        let mut peers = HashMap::with_capacity(members.len() + gateways.len());
        let standings = [(Standing::Gateway, gateways), (Standing::Member, members)];
        for (standing, listed) in standings {
            for (node, texts) in listed {
                if node != own {
                    peers.insert(node, (standing, texts.iter().filter_map(|text| address_of(node, text)).collect()));
                }
            }
        }
        Roster { peers }
    }

    pub(super) fn standing(&self, node: NodeId) -> Standing {
        self.peers.get(&node).map_or(Standing::Stranger, |(standing, _)| *standing)
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.peers.contains_key(&node)
    }

    pub(super) fn addresses(&self, node: NodeId) -> &[Multiaddr] {
        self.peers.get(&node).map_or(&[], |(_, addresses)| addresses)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.peers.keys().copied()
    }
}

fn address_of(node: NodeId, text: &str) -> Option<Multiaddr> {
    match PeerAddress::parse(text) {
        Ok(PeerAddress { address, peer }) if peer.is_none_or(|peer| peer == node) => Some(address),
        Ok(_) => {
            tracing::warn!(%node, address = text, "published address names another node; it is not dialled");
            None
        }
        Err(error) => {
            tracing::warn!(%node, %error, "published address cannot be used");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_address_does_not_hide_the_good_ones_and_members_outrank_gateways() {
        let (own, member, both) = (NodeId::from(1), NodeId::from(2), NodeId::from(3));
        let texts = |node: NodeId| {
            vec!["nonsense".into(), format!("/ip4/10.0.0.1/tcp/1/p2p/{node}"), format!("/ip4/10.0.0.2/tcp/1/p2p/{own}")]
        };
        let members = [own, member, both].map(|node| (node, texts(node))).into();
        let roster = Roster::new(members, [(both, Vec::new())].into(), own);
        assert_eq!(roster.addresses(member), ["/ip4/10.0.0.1/tcp/1".parse::<Multiaddr>().expect("valid")]);
        assert_eq!(roster.standing(both), Standing::Member);
        assert_eq!(roster.standing(own), Standing::Stranger);
        assert_eq!(roster.nodes().count(), 2);
    }
}
