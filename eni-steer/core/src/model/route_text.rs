//! Attributes of routes in the words of `ip route`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Attributes, metric, rta};

/// Names of the metrics (`mx_names` of iproute2's ip/iproute.c), by their numbers.
const METRICS: [&str; 18] = [
    "",
    "lock",
    "mtu",
    "window",
    "rtt",
    "rttvar",
    "ssthresh",
    "cwnd",
    "advmss",
    "reordering",
    "hoplimit",
    "initcwnd",
    "features",
    "rto_min",
    "initrwnd",
    "quickack",
    "congctl",
    "fastopen_no_cookie",
];
const RTT: u16 = 4;
const RTTVAR: u16 = 5;
const FEATURES: u16 = 12;
const RTO_MIN: u16 = 13;
const CONGESTION_CONTROL: u16 = 16;

/// The metrics of a route. What `ip` has no words for goes to `wordless`.
pub(super) fn metrics(
    mtu: Option<u32>,
    metrics: &Attributes,
    wordless: &mut Vec<String>,
) -> Vec<String> {
    let locks = metrics.u32(metric::LOCK).unwrap_or(0);
    let mut words = Vec::new();
    let mut add = |number: u16, value: String| {
        // `ip` locks this one by itself and takes no word for it.
        let is_locked = locks & (1 << number) != 0 && number != RTO_MIN;
        let lock = if is_locked { "lock " } else { "" };
        words.push(format!("{} {lock}{value}", METRICS[usize::from(number)]));
    };
    if let Some(mtu) = mtu {
        add(metric::MTU, mtu.to_string());
    }
    for (number, value) in metrics.iter().filter(|(number, _)| *number != metric::LOCK) {
        let value_text = match (number, metrics.u32(number)) {
            (CONGESTION_CONTROL, _) => text(value),
            // In units of 1/8 and 1/4 ms (`get_time_rtt`).
            (RTT, Some(value)) => format!("{}ms", value / 8),
            (RTTVAR, Some(value)) => format!("{}ms", value / 4),
            (RTO_MIN, Some(value)) => format!("{value}ms"),
            (FEATURES, Some(1)) => "ecn".to_owned(),
            (FEATURES, _) => {
                wordless.push(format!("features {}", hex(value)));
                continue;
            }
            (number, Some(value)) if usize::from(number) < METRICS.len() => value.to_string(),
            _ => {
                wordless.push(format!("metric {number} {}", hex(value)));
                continue;
            }
        };
        add(number, value_text);
    }
    words
}

/// The attributes of a route itself.
pub(super) fn attributes(attributes: &Attributes, wordless: &mut Vec<String>) -> Vec<String> {
    let mut words = Vec::new();
    for (number, value) in attributes.iter() {
        match (number, value) {
            (rta::PREFERENCE, [1]) => words.push("pref high".to_owned()),
            (rta::PREFERENCE, [3]) => words.push("pref low".to_owned()),
            _ => wordless.push(format!("attribute {number} {}", hex(value))),
        }
    }
    words
}

/// The realms of a next hop: the upper half of the number is that of sources.
pub(super) fn realms(attributes: &Attributes) -> Option<String> {
    let realms = attributes.u32(rta::FLOW)?;
    Some(match (realms >> 16, realms & 0xffff) {
        (0, to) => format!("realms {to}"),
        (from, to) => format!("realms {from}/{to}"),
    })
}

/// The encapsulation of a next hop (`lwtunnel_encap_types`).
pub(super) fn encapsulation(attributes: &Attributes, wordless: &mut Vec<String>) -> Option<String> {
    for (number, value) in attributes.iter() {
        if ![rta::FLOW, rta::ENCAP_TYPE, rta::ENCAP].contains(&number) {
            wordless.push(format!("attribute {number} {}", hex(value)));
        }
    }
    let kind = attributes.get(rta::ENCAP_TYPE)?;
    let kind = kind.try_into().map_or(0, u16::from_ne_bytes);
    let value = attributes.get(rta::ENCAP).unwrap_or_default();
    let words = match kind {
        1 => mpls(value),
        2 => tunnel("ip", value),
        4 => tunnel("ip6", value),
        5 => seg6(value),
        _ => None,
    };
    if words.is_none() {
        wordless.push(format!("encapsulation {kind} {}", hex(value)));
    }
    words
}

/// The attributes within the value of an attribute.
fn nested(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16::from_ne_bytes(*rest.first_chunk()?));
        let number = u16::from_ne_bytes(*rest.get(2..)?.first_chunk()?) & 0x3fff;
        let value = rest.get(4..length)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((number, value))
    })
}

/// `MPLS_IPTUNNEL_DST` and `MPLS_IPTUNNEL_TTL`.
fn mpls(value: &[u8]) -> Option<String> {
    let (mut labels, mut ttl) = (Vec::new(), String::new());
    for (number, value) in nested(value) {
        match (number, value) {
            (1, stack) => labels.extend(stack.chunks_exact(4).map(|entry| {
                let label = entry
                    .first_chunk()
                    .map_or(0, |bytes| u32::from_be_bytes(*bytes));
                (label >> 12).to_string()
            })),
            (2, [hops]) => ttl = format!(" ttl {hops}"),
            _ => return None,
        }
    }
    (!labels.is_empty()).then(|| format!("encap mpls {}{ttl}", labels.join("/")))
}

/// `LWTUNNEL_IP_*` and `LWTUNNEL_IP6_*`, whose numbers are the same.
fn tunnel(name: &str, value: &[u8]) -> Option<String> {
    let mut words = format!("encap {name}");
    let (hops, class) = match name {
        "ip" => ("ttl", "tos"),
        _ => ("hoplimit", "tc"),
    };
    for (number, value) in nested(value) {
        let word = match (number, value) {
            (1, value) => format!("id {}", u64::from_be_bytes(value.try_into().ok()?)),
            (2, value) => format!("dst {}", address(value)?),
            (3, value) if value.iter().all(|byte| *byte == 0) => continue,
            (3, value) => format!("src {}", address(value)?),
            (4, [0]) | (5, [0]) | (6, [0, 0]) => continue,
            (4, [number]) => format!("{hops} {number}"),
            (5, [number]) => format!("{class} {number}"),
            _ => return None,
        };
        words.push(' ');
        words.push_str(&word);
    }
    Some(words)
}

/// `SEG6_IPTUNNEL_SRH`: the mode, then the segment routing header, whose segments are in reverse
/// order (RFC 8754).
fn seg6(value: &[u8]) -> Option<String> {
    let (1, value) = nested(value).next()? else {
        return None;
    };
    let modes = ["inline", "encap", "l2encap", "encap.red", "l2encap.red"];
    let mode = usize::try_from(i32::from_ne_bytes(*value.first_chunk()?)).ok()?;
    let mode = modes.get(mode)?;
    let header: &[u8; 8] = value.get(4..)?.first_chunk()?;
    let [_, _, _, _, last, 0, ..] = *header else {
        // Flags: the header carries more than segments.
        return None;
    };
    let segments = value.get(12..)?.as_chunks::<16>().0;
    let segments = segments.get(..=usize::from(last))?.iter().rev();
    let mut segments: Vec<Ipv6Addr> = segments.map(|bytes| Ipv6Addr::from(*bytes)).collect();
    if *mode == "inline" {
        // The kernel puts the packet's own destination there.
        segments.pop_if(|last| last.is_unspecified());
    }
    let segments: Vec<String> = segments.iter().map(ToString::to_string).collect();
    Some(format!(
        "encap seg6 mode {mode} segs {}",
        segments.join(",")
    ))
}

fn address(value: &[u8]) -> Option<String> {
    match value.len() {
        4 => Some(Ipv4Addr::from(<[u8; 4]>::try_from(value).ok()?).to_string()),
        _ => Some(Ipv6Addr::from(<[u8; 16]>::try_from(value).ok()?).to_string()),
    }
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|byte| *byte == 0);
    String::from_utf8_lossy(&value[..end.unwrap_or(value.len())]).into_owned()
}

fn hex(value: &[u8]) -> String {
    value.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An encapsulation as the kernel shows it, in the words of `ip`, and what is left over.
    fn words(kind: u16, value: &[u8]) -> (Option<String>, Vec<String>) {
        let mut attributes = Attributes::default();
        attributes.set(rta::ENCAP_TYPE, &kind.to_ne_bytes());
        attributes.set(rta::ENCAP, value);
        let mut wordless = Vec::new();
        (encapsulation(&attributes, &mut wordless), wordless)
    }

    fn nest(number: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).expect("short");
        let mut bytes = [length.to_ne_bytes(), number.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn encapsulations_are_shown_as_ip_takes_them() {
        let mpls = [nest(1, &[0, 6, 0x40, 0, 0, 0xc, 0x81, 0]), nest(2, &[9])].concat();
        let said = words(1, &mpls).0;
        assert_eq!(said.as_deref(), Some("encap mpls 100/200 ttl 9"));
        let segment = |last: u8| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last.into()).octets();
        let header = |mode: i32, segments: &[[u8; 16]]| {
            let last = u8::try_from(segments.len() - 1).expect("few");
            let mut bytes = mode.to_ne_bytes().to_vec();
            bytes.extend([0, last * 2 + 2, 4, last, last, 0, 0, 0]);
            bytes.extend(segments.concat());
            nest(1, &bytes)
        };
        let seg6 = header(1, &[segment(2), segment(1)]);
        let said = words(5, &seg6).0;
        assert_eq!(
            said.as_deref(),
            Some("encap seg6 mode encap segs fd00::1,fd00::2")
        );
        let inline = header(0, &[[0; 16], segment(1)]);
        let said = words(5, &inline).0;
        assert_eq!(said.as_deref(), Some("encap seg6 mode inline segs fd00::1"));
    }

    #[test]
    fn what_ip_has_no_words_for_is_named_in_a_comment() {
        assert_eq!(
            words(77, &[1, 2]),
            (None, vec!["encapsulation 77 0102".to_owned()])
        );
        let mut all = Attributes::default();
        all.set(12, &3u32.to_ne_bytes());
        all.set(99, &[7]);
        let mut wordless = Vec::new();
        assert!(metrics(None, &all, &mut wordless).is_empty());
        assert_eq!(wordless.len(), 2, "{wordless:?}");
    }
}
