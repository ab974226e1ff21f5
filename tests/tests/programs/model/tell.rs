//! Writes tables into the maps.

use std::collections::{BTreeMap, BTreeSet};

use eni_steer_core::model::Datapath;
use eni_steer_linux::bpf::Maps;

/// Changes the maps from the tables that they contain to other ones.
pub fn tell(maps: &mut Maps, old: &Datapath, new: &Datapath) {
    let settings = new.settings.expect("the host has settings");
    maps.set_settings(&settings).expect("settings");
    for (eni, row) in &new.enis {
        maps.set_eni(*eni, Some(row)).expect("an ENI");
    }
    for net in keys(&old.owners, &new.owners) {
        let owner = new.owners.get(&net).copied();
        if owner != old.owners.get(&net).copied() {
            maps.set_owner(net, owner).expect("an owner");
        }
    }
    for (eni, net) in keys(&old.next_hops, &new.next_hops) {
        let hop = new.next_hops.get(&(eni, net)).copied();
        if hop != old.next_hops.get(&(eni, net)).copied() {
            maps.set_next_hop(eni, net, hop).expect("a route");
        }
    }
    for net in old.exempt.symmetric_difference(&new.exempt) {
        let exempt = new.exempt.contains(net);
        maps.set_exempt(*net, exempt).expect("an exemption");
    }
}

/// Returns all keys of two maps.
fn keys<K: Copy + Ord, V>(old: &BTreeMap<K, V>, new: &BTreeMap<K, V>) -> BTreeSet<K> {
    old.keys().chain(new.keys()).copied().collect()
}
