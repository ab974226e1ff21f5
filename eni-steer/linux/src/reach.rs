//! Does another host answer? Sends an ICMP echo request or opens a TCP connection from a chosen
//! source, as a service on this host would.

use std::{
    io::{self, Read},
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

/// How long one question waits before the next is sent.
const INTERVAL: Duration = Duration::from_secs(1);
/// ICMP and ICMPv6 echo request (RFC 792, RFC 4443).
const REQUEST: [u8; 2] = [8, 128];
/// ICMP and ICMPv6 echo reply.
const REPLY: [u8; 2] = [0, 129];

/// Whether a host answers an ICMP echo request within `patience`; a request is sent each second.
/// The reply must come from that host.
///
/// # Errors
/// There is no socket for it: the source is not an address of this host, or a privilege is missing.
pub fn answers_echo(from: Option<IpAddr>, to: IpAddr, patience: Duration) -> io::Result<bool> {
    let (domain, protocol) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::RAW, Some(protocol))?;
    if let Some(from) = from {
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    let began = Instant::now();
    // A raw socket receives every echo reply of its namespace; the id shows whose it is.
    let id = (std::process::id() & 0xffff) as u16;
    let mut buffer = [0; 2048];
    let mut sequence = 0;
    while began.elapsed() < patience {
        sequence += 1;
        let to = SocketAddr::new(to, 0);
        // No route yet, or a full queue: the next second may be better.
        if let Err(error) = socket.send_to(&request(to.ip(), id, sequence), &to.into()) {
            tracing::debug!("cannot send an echo request to {}: {error}", to.ip());
        }
        let until = Instant::now() + INTERVAL.min(patience.saturating_sub(began.elapsed()));
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !left.is_zero()
        {
            socket.set_read_timeout(Some(left))?;
            match (&socket).read(&mut buffer) {
                Ok(length) if is_reply(to.ip(), id, &buffer[..length]) => return Ok(true),
                Ok(_of_another) => {}
                Err(error) if is_timeout(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(false)
}

/// Whether a TCP connection to a port is accepted within `patience`.
///
/// # Errors
/// There is no socket for it: the source is not an address of this host.
pub fn accepts_tcp(from: Option<IpAddr>, to: SocketAddr, patience: Duration) -> io::Result<bool> {
    let began = Instant::now();
    while began.elapsed() < patience {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        if let Some(from) = from {
            socket.bind(&SocketAddr::new(from, 0).into())?;
        }
        let left = patience.saturating_sub(began.elapsed());
        match socket.connect_timeout(&to.into(), left) {
            Ok(()) => return Ok(true),
            Err(error) => tracing::debug!("{to} does not accept a connection: {error}"),
        }
        std::thread::sleep(INTERVAL.min(patience.saturating_sub(began.elapsed())));
    }
    Ok(false)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn request(to: IpAddr, id: u16, sequence: u16) -> Vec<u8> {
    let mut message = vec![REQUEST[usize::from(to.is_ipv6())], 0, 0, 0];
    message.extend(id.to_be_bytes());
    message.extend(sequence.to_be_bytes());
    message.extend(*b"eni-steer probe.");
    if to.is_ipv4() {
        // The kernel fills in the checksum of ICMPv6, but not that of ICMP.
        let sum = checksum(&message);
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    message
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let mut sum: u32 = words
        .map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

/// Whether a packet is the reply of this host. IPv4 raw sockets deliver the IP header too.
fn is_reply(from: IpAddr, id: u16, received: &[u8]) -> bool {
    let message = match from {
        IpAddr::V4(from) => {
            let Some(header) = received.first_chunk::<20>() else {
                return false;
            };
            if header[12..16] != from.octets() {
                return false;
            }
            received.get(usize::from(header[0] & 0xf) * 4..)
        }
        IpAddr::V6(_) => Some(received),
    };
    let reply = REPLY[usize::from(from.is_ipv6())];
    let is_ours = |message: &[u8]| message[0] == reply && message[4..6] == id.to_be_bytes();
    message
        .and_then(|message| message.first_chunk::<8>())
        .is_some_and(|message| is_ours(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_reply_of_the_host_that_was_asked_counts() {
        let to: IpAddr = "10.0.0.1".parse().expect("an address");
        let packet = |kind: u8, id: u16, from: [u8; 4]| {
            let mut packet = vec![0x45; 20];
            packet[12..16].copy_from_slice(&from);
            packet.extend([kind, 0, 0, 0]);
            packet.extend(id.to_be_bytes());
            packet.extend([0, 1]);
            packet
        };
        assert!(is_reply(to, 7, &packet(0, 7, [10, 0, 0, 1])));
        assert!(!is_reply(to, 7, &packet(8, 7, [10, 0, 0, 1])), "a request");
        assert!(!is_reply(to, 7, &packet(0, 8, [10, 0, 0, 1])), "another's");
        assert!(!is_reply(to, 7, &packet(0, 7, [10, 0, 0, 2])), "by another");
        let six: IpAddr = "fd00::1".parse().expect("an address");
        assert!(is_reply(six, 7, &[129, 0, 0, 0, 0, 7, 0, 1]));
        assert!(!is_reply(six, 7, &[128, 0, 0, 0, 0, 7, 0, 1]));
        for cut in [&[0x45_u8; 20][..], &[129, 0, 0][..], &[]] {
            assert!(!is_reply(to, 7, cut) && !is_reply(six, 7, cut));
        }
    }

    #[test]
    fn the_checksum_of_a_message_with_its_checksum_is_zero() {
        let message = request("10.0.0.1".parse().expect("an address"), 0x1234, 7);
        assert_eq!(checksum(&message), 0);
        assert_eq!(checksum(&[1]), !0x0100);
    }
}
