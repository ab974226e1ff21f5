//! Reads the report of `eni-steer counters` and answers questions about it.

use serde_json::Value;

use crate::{Count, DeviceCounters, Lab, Steer, eventually};
use std::time::Duration;

/// A report of `eni-steer counters --all -j`.
#[derive(Debug, Clone)]
pub struct Counters(Value);

/// A direction, with the words of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Packets into the host.
    In,
    /// Packets out of the host.
    Out,
}

impl Way {
    /// Both directions.
    pub const BOTH: [Self; 2] = [Self::In, Self::Out];

    fn word(self) -> &'static str {
        match self {
            Self::In => "ingress",
            Self::Out => "egress",
        }
    }
}

/// The counts of one owned address on one ENI in one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressCell {
    /// Packets that went on through this ENI.
    pub passed: Count,
    /// Packets that were redirected to the owner.
    pub steered: Count,
    /// Packets that were dropped.
    pub dropped: Count,
    /// Packets that went on through this ENI because the configuration or the protocol wants it
    /// so.
    pub exempt: Count,
}

impl Counters {
    /// Runs `counters` on the lab's host and parses its report.
    #[track_caller]
    pub fn read(steer: &Steer, lab: &Lab) -> Self {
        let output = steer
            .run(lab, &["counters", "--all", "-j"])
            .expect_success();
        Self(output.json())
    }

    /// Reads the report together with the devices' own counters at a moment without traffic: the
    /// devices count the same before and after.
    #[track_caller]
    pub fn read_at_rest(steer: &Steer, lab: &Lab) -> (Self, Vec<DeviceCounters>) {
        let devices = || -> Vec<DeviceCounters> {
            let enis = lab.enis().iter();
            enis.map(|eni| lab.device_counters(&lab.host, &eni.name))
                .collect()
        };
        let mut rest = None;
        let found = eventually(Duration::from_secs(10), || {
            let before = devices();
            let counters = Self::read(steer, lab);
            let after = devices();
            let same = before == after;
            rest = same.then_some((counters, after));
            same
        });
        assert!(found, "the devices never stopped counting: {:?}", devices());
        rest.expect("the wait above succeeded")
    }

    /// Returns the report itself.
    pub fn report(&self) -> &Value {
        &self.0
    }

    #[track_caller]
    fn eni(&self, name: &str) -> &Value {
        let mut enis = self.0["enis"].as_array().into_iter().flatten();
        enis.find(|eni| eni["name"] == name)
            .unwrap_or_else(|| panic!("no counters of {name} in {:#}", self.0))
    }

    /// Returns packets and bytes of a class (`ipv4`, `ipv6`, `other`) on an ENI.
    #[track_caller]
    pub fn class(&self, eni: &str, way: Way, class: &str) -> Count {
        count(&self.eni(eni)["totals"][way.word()][class])
    }

    /// Returns packets and bytes of all classes on an ENI.
    #[track_caller]
    pub fn total(&self, eni: &str, way: Way) -> Count {
        ["ipv4", "ipv6", "other"]
            .map(|class| self.class(eni, way, class))
            .into_iter()
            .fold(Count::default(), plus)
    }

    /// Returns how many packets of an ENI had a fate. A fate that the report leaves out counts as
    /// zero.
    #[track_caller]
    pub fn fate(&self, eni: &str, fate: &str) -> u64 {
        match &self.eni(eni)["fates"][fate] {
            Value::Null => 0,
            value => count(value).packets,
        }
    }

    /// Returns all fates of an ENI that are not zero, in packets.
    #[track_caller]
    pub fn fates(&self, eni: &str) -> Vec<(String, u64)> {
        let fates = self.eni(eni)["fates"]
            .as_object()
            .expect("fates are an object");
        fates
            .iter()
            .map(|(name, value)| (name.clone(), count(value).packets))
            .collect()
    }

    /// Returns the counts of an address (or prefix) on an ENI.
    #[track_caller]
    pub fn cell(&self, address: impl ToString, eni: &str, way: Way) -> AddressCell {
        let address = whole(&address.to_string());
        let id = &self.eni(eni)["id"];
        let mut cells = self.0["cells"].as_array().into_iter().flatten();
        cells
            .find(|cell| {
                cell["address"] == address.as_str()
                    && cell["eni"] == *id
                    && cell["direction"] == way.word()
            })
            .map_or_else(AddressCell::default, |cell| AddressCell {
                passed: count(&cell["passed"]),
                steered: count(&cell["steered"]),
                dropped: count(&cell["dropped"]),
                exempt: count(&cell["exempt"]),
            })
    }

    /// Returns what a source sent through an ENI, and how many of these packets were mismatched.
    #[track_caller]
    pub fn source(&self, source: impl ToString, eni: &str, way: Way) -> (Count, u64) {
        let source = whole(&source.to_string());
        self.sources(eni, way)
            .find(|row| row["source"] == source.as_str())
            .map_or_else(Default::default, |row| {
                (count(&row["count"]), number(&row["mismatched"]))
            })
    }

    /// Returns the rows of an ENI's sources.
    #[track_caller]
    fn sources(&self, eni: &str, way: Way) -> impl Iterator<Item = &Value> {
        let id = &self.eni(eni)["id"];
        let rows = self.0["sources"].as_array().into_iter().flatten();
        rows.filter(move |row| row["eni"] == *id && row["direction"] == way.word())
    }

    /// Returns the sum of the rows of an ENI's sources and, on the way out, of its addresses, for
    /// one family.
    #[track_caller]
    pub fn listed(&self, eni: &str, way: Way, class: &str) -> Count {
        let of_class =
            |text: &Value| text.as_str().expect("an address").contains(':') == (class == "ipv6");
        let id = &self.eni(eni)["id"];
        let sources = self
            .sources(eni, way)
            .filter(|row| of_class(&row["source"]));
        let sources = sources.map(|row| count(&row["count"]));
        let cells = self.0["cells"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|cell| {
                let address = cell["address"].as_str().expect("an address");
                way == Way::Out
                    && cell["eni"] == *id
                    && cell["direction"] == way.word()
                    && of_class(&cell["address"])
                    && (address.ends_with("/32") && class == "ipv4" || address.ends_with("/128"))
            });
        let cells = cells.map(|cell| plus(count(&cell["passed"]), count(&cell["exempt"])));
        sources.chain(cells).fold(Count::default(), plus)
    }

    /// Returns the report's "other": what no listed source accounts for.
    #[track_caller]
    pub fn other(&self, eni: &str, way: Way, class: &str) -> Count {
        let id = &self.eni(eni)["id"];
        let mut rows = self.0["other"].as_array().into_iter().flatten();
        rows.find(|row| row["eni"] == *id && row["direction"] == way.word())
            .map(|row| count(&row[class]))
            .unwrap_or_else(|| panic!("the report has no \"other\" of {eni} in {:#}", self.0))
    }
}

/// Returns an address as the report writes it: as the prefix that contains nothing else.
fn whole(address: &str) -> String {
    match (address.contains('/'), address.contains(':')) {
        (true, _) => address.to_owned(),
        (false, true) => format!("{address}/128"),
        (false, false) => format!("{address}/32"),
    }
}

#[track_caller]
fn count(value: &Value) -> Count {
    Count {
        packets: number(&value["packets"]),
        bytes: number(&value["bytes"]),
    }
}

#[track_caller]
fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| panic!("not a number: {value}"))
}

fn plus(a: Count, b: Count) -> Count {
    Count {
        packets: a.packets + b.packets,
        bytes: a.bytes + b.bytes,
    }
}
