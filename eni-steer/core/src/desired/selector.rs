//! From the selector in a policy (a name or a MAC address) to the interface.

use super::{context::Context, eni::Eni};
use crate::{model::Link, policy::Selector};

/// The interface that a selector names.
pub(super) fn link<'a>(cx: &Context<'a>, selector: &Selector) -> Option<&'a Link> {
    match selector {
        Selector::Name(name) => cx.host.link_named(name),
        Selector::Mac(mac) => cx
            .host
            .links
            .values()
            .filter(|link| link.mac == Some(*mac) && link.master.is_none())
            // A VLAN or a bridge has the MAC address of the interface below it.
            .min_by_key(|link| link.kind.is_some()),
    }
}

/// The managed ENI that the selector of an access rule or of a balance weight names.
pub(super) fn managed_eni<'a>(
    cx: &Context<'_>,
    enis: &'a [Eni],
    selector: &Selector,
) -> Option<&'a Eni> {
    let index = link(cx, selector)?.index;
    enis.iter().find(|eni| eni.index == index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{desired::context::Absence, fake::fake_host, policy::Policy};

    #[test]
    fn a_mac_address_names_the_interface_and_not_the_vlan_above_it() {
        let mut host = fake_host()
            .virtual_link(2, "eth1.100", "vlan", &["10.8.0.4/24"])
            .eni(3, "eth1", &["172.16.20.177/24"]);
        let mac = host
            .link_named("eth1")
            .and_then(|link| link.mac)
            .expect("eth1 has a MAC address");
        host.link_mut("eth1.100").mac = Some(mac);
        let cx = Context {
            host: &host,
            policy: &Policy::default(),
            absence: Absence::Error,
        };
        let link = link(&cx, &Selector::Mac(mac)).expect("the host has eth1");
        assert_eq!(link.name, "eth1");
    }
}
