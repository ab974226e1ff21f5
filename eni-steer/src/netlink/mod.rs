//! rtnetlink, the wire: both directions of one object stand in one file.
//!
//! One socket with strict checking and extended acks. A dump that the kernel marks as
//! interrupted (`NLM_F_DUMP_INTR`) is asked for again, so that nothing is ever planned on
//! half a table. Relied on: rtnetlink(7), netlink(7), and the kernel's
//! `Documentation/userspace-api/netlink/intro.rst` for extended acks and dump consistency.

mod address;
mod datagram;
mod errno;
mod link;
mod lookup;
mod neighbour;
mod route;
mod rule;
mod watch;
mod wire;

use std::time::Duration;

use futures_util::StreamExt;
use rtnetlink::{
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
    sys::AsyncSocket,
};

pub(crate) use datagram::read as read_datagram;
pub use errno::NetlinkError;
pub use lookup::Answer;
pub use watch::{Event, GROUPS, Notification, Watch};

/// `NLM_F_DUMP_INTR`: the table changed while it was dumped.
const DUMP_INTERRUPTED: u16 = 0x10;
/// How often an interrupted dump is tried again.
const DUMP_TRIES: u32 = 8;
/// How long the kernel may take for one request; a lost ack must not hang us.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Receive buffer: large enough for a full dump while we are not scheduled.
const RECEIVE_BUFFER: u32 = 4 << 20;

/// A connection to the kernel's routing of the network namespace the thread that opened it
/// was in; it stays there wherever its user goes.
#[derive(Clone)]
pub struct Netlink {
    handle: rtnetlink::Handle,
    port: u32,
}

impl Netlink {
    /// Opens the socket. Needs a tokio runtime with I/O enabled: one task reads the socket.
    pub fn open() -> Result<Self, NetlinkError> {
        let opened = || -> std::io::Result<_> {
            let (mut connection, handle, messages) = rtnetlink::new_connection_with_strict_check()?;
            let socket = connection.socket_mut().socket_mut();
            // The port is asked for now, so that notifications of our own changes can be told.
            let port = socket.bind_auto()?.port_number();
            socket.set_ext_ack(true)?;
            socket.set_cap_ack(true)?;
            socket.set_rx_buf_sz(RECEIVE_BUFFER)?;
            Ok((connection, handle, messages, port))
        };
        let (connection, handle, messages, port) =
            opened().map_err(|cause| NetlinkError::io("open a rtnetlink socket", cause))?;
        tokio::spawn(connection);
        // Nothing is subscribed to on this socket: unsolicited messages do not exist.
        drop(messages);
        Ok(Self { handle, port })
    }

    /// The port notifications of this connection's own changes carry.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Asks for a whole table and returns its messages, or an error: never a part.
    pub(crate) async fn dump(
        &self,
        what: &'static str,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        for attempt in 0..DUMP_TRIES {
            let (messages, whole) = self.converse(what, request.clone(), NLM_F_DUMP).await?;
            if whole {
                return Ok(messages);
            }
            tokio::time::sleep(Duration::from_millis(1 << attempt)).await;
        }
        Err(NetlinkError::Restless { what })
    }

    /// Sends a request that changes something and waits for the kernel's ack.
    pub(crate) async fn change(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.ask(what, request, flags | NLM_F_ACK).await.map(drop)
    }

    /// Sends a request and returns what the kernel answers before its ack.
    async fn ask(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        let (answers, _whole) = self.converse(what, request, flags).await?;
        Ok(answers)
    }

    /// Sends a request and returns the answers up to its end, and whether no change has
    /// interrupted them.
    async fn converse(
        &self,
        what: &str,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(Vec<RouteNetlinkMessage>, bool), NetlinkError> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | flags;
        let mut stream = self
            .handle
            .clone()
            .request(message)
            .map_err(|cause| NetlinkError::protocol(what, &cause))?;
        let mut answers = Vec::new();
        let mut whole = true;
        while let Some(answer) =
            tokio::time::timeout(TIMEOUT, stream.next())
                .await
                .map_err(|_elapsed| NetlinkError::Silent {
                    what: what.to_owned(),
                })?
        {
            whole &= answer.header.flags & DUMP_INTERRUPTED == 0;
            match answer.payload {
                NetlinkPayload::InnerMessage(inner) => answers.push(inner),
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    return Err(NetlinkError::refused(what, &error));
                }
                _ => {}
            }
        }
        Ok((answers, whole))
    }
}
