//! TCP: transfers bytes from one namespace to another and checks each of them.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use super::udp::local;
use super::{bind_soon, is_timeout};
use crate::NetNs;

/// Bytes are sent in chunks of this size.
const CHUNK: usize = 64 << 10;

/// The period of the bytes sent. It is prime, so that a lost or doubled piece of any common size
/// is noticed.
const PERIOD: usize = 251;

/// Transfers `bytes` from a server to a client that connects to `to`, within 10 s. `to` may
/// differ from `listen`, if something translates addresses in between.
#[track_caller]
pub fn tcp_transfer(
    server: &NetNs,
    listen: SocketAddr,
    client: &NetNs,
    to: SocketAddr,
    bytes: u64,
) -> Transfer {
    TcpTransfer::of(bytes).run(server, listen, client, to)
}

/// A transfer with its options.
#[derive(Debug, Clone)]
#[must_use]
pub struct TcpTransfer {
    bytes: u64,
    from: Option<IpAddr>,
    upload: bool,
    timeout: Duration,
}

/// Result of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Transfer {
    /// The client saw the connection established.
    pub connected: bool,
    /// Bytes that arrived and were correct.
    pub received: u64,
    /// Everything arrived, was correct, and both sides closed cleanly.
    pub complete: bool,
    /// Time from the first SYN to the end.
    pub elapsed: Duration,
    /// The client's address and port as the server saw them.
    pub client_seen: Option<SocketAddr>,
    /// The first error.
    pub error: Option<String>,
}

impl TcpTransfer {
    /// Transfers from server to client, within 10 s.
    pub fn of(bytes: u64) -> Self {
        Self {
            bytes,
            from: None,
            upload: false,
            timeout: Duration::from_secs(10),
        }
    }

    /// Sets the client's address.
    pub fn from(mut self, from: impl Into<IpAddr>) -> Self {
        self.from = Some(from.into());
        self
    }

    /// Transfers from client to server instead.
    pub fn upload(mut self) -> Self {
        self.upload = true;
        self
    }

    /// Sets how long connecting and transferring may take together.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the transfer. Panics only if the server can not listen.
    #[track_caller]
    pub fn run(
        &self,
        server: &NetNs,
        listen: SocketAddr,
        client: &NetNs,
        to: SocketAddr,
    ) -> Transfer {
        let listener = server
            .run(|| {
                let listener = bind_soon(|| TcpListener::bind(listen))?;
                listener.set_nonblocking(true)?;
                io::Result::Ok(listener)
            })
            .unwrap_or_else(|e| panic!("no TCP server on {listen} in {}: {e}", server.name()));
        let started = Instant::now();
        let deadline = started + self.timeout;
        let client_failed = AtomicBool::new(false);
        let (served, connected, fetched) = std::thread::scope(|scope| {
            let serving =
                scope.spawn(|| server.run(|| self.serve(&listener, deadline, &client_failed)));
            let (connected, fetched) = client.run(|| self.fetch(to, deadline));
            client_failed.store(fetched.is_err(), Ordering::Release);
            let served = serving.join().expect("the server does not panic");
            (served, connected, fetched)
        });
        let (client_seen, served) = served;
        let mut error = None;
        let mut counts = Vec::new();
        for (side, result) in [("client", fetched), ("server", served)] {
            match result {
                Ok(count) => counts.push(count),
                Err(Broken { received, cause }) => {
                    counts.push(received);
                    error.get_or_insert(format!("{side}: {cause}"));
                }
            }
        }
        let received = counts.into_iter().max().unwrap_or(0);
        Transfer {
            connected,
            received,
            complete: error.is_none() && received == self.bytes,
            elapsed: started.elapsed(),
            client_seen,
            error,
        }
    }

    fn serve(
        &self,
        listener: &TcpListener,
        deadline: Instant,
        client_failed: &AtomicBool,
    ) -> (Option<SocketAddr>, Result<u64, Broken>) {
        let (stream, from) = loop {
            match listener.accept() {
                Ok(accepted) => break accepted,
                Err(e) if is_timeout(&e) => {}
                Err(e) => return (None, Err(e.into())),
            }
            if client_failed.load(Ordering::Acquire) || Instant::now() >= deadline {
                return (None, Err(io::Error::from(io::ErrorKind::TimedOut).into()));
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        let work = || {
            stream.set_nonblocking(false)?;
            self.exchange(&stream, self.upload, deadline)
        };
        (Some(from), work())
    }

    fn fetch(&self, to: SocketAddr, deadline: Instant) -> (bool, Result<u64, Broken>) {
        let connect = || -> io::Result<TcpStream> {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            if self.from.is_some() {
                socket.bind(&local(self.from, to).into())?;
            }
            socket.connect_timeout(&to.into(), left(deadline)?)?;
            Ok(socket.into())
        };
        match connect() {
            Ok(stream) => (true, self.exchange(&stream, !self.upload, deadline)),
            Err(e) => (false, Err(e.into())),
        }
    }

    /// One side of the transfer: it sends everything or receives everything; then the receiver
    /// confirms with one byte. Returns how many bytes this side received.
    fn exchange(
        &self,
        stream: &TcpStream,
        receive: bool,
        deadline: Instant,
    ) -> Result<u64, Broken> {
        let mut stream = Bounded { stream, deadline };
        if receive {
            let received = receive_all(&mut stream, self.bytes)?;
            let thanks = stream.write_all(&[1]);
            thanks.map_err(|cause| Broken { received, cause })?;
            return Ok(received);
        }
        send_all(&mut stream, self.bytes)?;
        let mut thanks = [0];
        stream.read_exact(&mut thanks)?;
        Ok(0)
    }
}

/// How far a side got, and why it stopped.
struct Broken {
    received: u64,
    cause: io::Error,
}

impl From<io::Error> for Broken {
    fn from(cause: io::Error) -> Self {
        Self { received: 0, cause }
    }
}

fn send_all(to: &mut impl Write, bytes: u64) -> io::Result<()> {
    let pattern = pattern();
    let mut sent = 0;
    while sent < bytes {
        let start = (sent % PERIOD as u64) as usize;
        let length = (bytes - sent).min(CHUNK as u64) as usize;
        to.write_all(&pattern[start..start + length])?;
        sent += length as u64;
    }
    Ok(())
}

fn receive_all(from: &mut impl Read, bytes: u64) -> Result<u64, Broken> {
    let pattern = pattern();
    let mut buffer = vec![0; CHUNK];
    let mut received = 0;
    while received < bytes {
        let broken = |cause| Broken { received, cause };
        let wanted = (bytes - received).min(CHUNK as u64) as usize;
        let length = from.read(&mut buffer[..wanted]).map_err(broken)?;
        if length == 0 {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        }
        let start = (received % PERIOD as u64) as usize;
        if buffer[..length] != pattern[start..start + length] {
            return Err(broken(io::Error::other("the bytes are not those sent")));
        }
        received += length as u64;
    }
    Ok(received)
}

/// Returns enough of the pattern to start a chunk at any place in its period.
fn pattern() -> Vec<u8> {
    (0..CHUNK + PERIOD).map(|i| (i % PERIOD) as u8).collect()
}

fn left(deadline: Instant) -> io::Result<Duration> {
    match deadline.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        // The kernel rounds to microseconds, and zero would mean for ever.
        left => Ok(left.max(Duration::from_millis(1))),
    }
}

/// A stream that never waits beyond the deadline.
struct Bounded<'a> {
    stream: &'a TcpStream,
    deadline: Instant,
}

impl Read for Bounded<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.set_read_timeout(Some(left(self.deadline)?))?;
        self.stream.read(buffer)
    }
}

impl Write for Bounded<'_> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.stream.set_write_timeout(Some(left(self.deadline)?))?;
        self.stream.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
