//! Runs programs inside a namespace, with a time limit, and returns what they printed.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::{Read, Write};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::NetNs;

/// The time limit of a program unless the call sets another, on a machine of usual speed.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Returns how many times slower than usual this machine is, from the environment: an emulated
/// processor needs seconds to load a program.
pub(crate) fn slowness() -> u32 {
    let slowness = std::env::var("ENI_STEER_TEST_SLOWNESS");
    let slowness = slowness.ok().and_then(|text| text.parse().ok());
    slowness.unwrap_or(1)
}

/// How often to check whether a program in the background has ended.
const ASK_AGAIN: Duration = Duration::from_millis(2);
/// How long a call sleeps at most before it checks its deadline.
const MOMENT: Duration = Duration::from_millis(10);

/// Runs a program in a namespace and waits for it to end.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(
    ns: &NetNs,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> Output {
    Call::new(program).args(args).run(ns)
}

/// Runs a program in a namespace and returns its stdout; panics unless it succeeds.
#[track_caller]
pub fn run_ok<S: AsRef<OsStr>>(
    ns: &NetNs,
    program: impl AsRef<OsStr>,
    args: impl IntoIterator<Item = S>,
) -> String {
    run(ns, program, args).expect_success().stdout
}

/// Runs `ip` with these words in a namespace and returns its stdout; panics unless it succeeds.
#[track_caller]
pub fn ip(ns: &NetNs, words: &str) -> String {
    run_ok(ns, "ip", words.split_whitespace())
}

/// A program to run in a namespace, with its arguments, environment, input and time limit.
#[derive(Debug, Clone)]
pub struct Call {
    program: OsString,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: String,
    timeout: Duration,
}

impl Call {
    /// A call without arguments, with empty stdin and a time limit of 20 s (on a machine of usual
    /// speed).
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: String::new(),
            timeout: TIMEOUT * slowness(),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args
            .extend(args.into_iter().map(|a| a.as_ref().to_owned()));
        self
    }

    /// Another program in the same environment.
    pub fn instead<S: AsRef<OsStr>>(mut self, program: impl AsRef<OsStr>, args: &[S]) -> Self {
        self.program = program.as_ref().to_owned();
        self.args = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        self
    }

    /// Sets a variable in the program's environment.
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets what the program reads from stdin.
    pub fn stdin(mut self, text: impl Into<String>) -> Self {
        self.stdin = text.into();
        self
    }

    /// Sets the time limit. After it the program is killed and [`Output::timed_out`] is set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Runs the program and waits for it to end. Panics only if it can not be started at all.
    #[track_caller]
    pub fn run(&self, ns: &NetNs) -> Output {
        let started = Instant::now();
        let mut child = self.start(ns, Stdio::piped(), Stdio::piped());
        let deadline = started + self.timeout;
        let mut stdin = child.stdin.take();
        let mut out = child.stdout.take();
        let mut err = child.stderr.take();
        for pipe in [
            stdin.as_ref().map(AsFd::as_fd),
            out.as_ref().map(AsFd::as_fd),
            err.as_ref().map(AsFd::as_fd),
        ]
        .into_iter()
        .flatten()
        {
            fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a pipe can be non-blocking");
        }
        let ends = end_of(&child);
        let mut unwritten = self.stdin.as_bytes();
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        let mut timed_out = false;
        let status = loop {
            feed(&mut stdin, &mut unwritten);
            let ended = child.try_wait().expect("a child can be waited for");
            // Read after asking, so that everything an ended program wrote is included.
            drain(&mut out, &mut stdout);
            drain(&mut err, &mut stderr);
            if let Some(status) = ended {
                break status;
            }
            if Instant::now() >= deadline {
                timed_out = true;
                child.kill().expect("a child that runs can be killed");
                break child.wait().expect("a killed child ends");
            }
            wait_for(&ends, &stdin, &out, &err);
        };
        if timed_out {
            // What it wrote before it was killed.
            drain(&mut out, &mut stdout);
            drain(&mut err, &mut stderr);
        }
        Output {
            command: self.to_string(),
            namespace: ns.name().to_owned(),
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
            timed_out,
            elapsed: started.elapsed(),
        }
    }

    /// Starts the program and returns at once. Its output goes to a file that
    /// [`Background::output`] reads. Dropping the value kills the program.
    #[track_caller]
    pub fn start_in_background(&self, ns: &NetNs) -> Background {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        // One open file, so that both streams append to it in order.
        let out = log.reopen().expect("a temporary file opens twice");
        let err = out.try_clone().expect("a descriptor can be duplicated");
        let mut child = self.start(ns, out.into(), err.into());
        // Programs started like this are daemons, which read their input at once.
        let mut stdin = child.stdin.take();
        let mut unwritten = self.stdin.as_bytes();
        feed(&mut stdin, &mut unwritten);
        Background {
            command: self.to_string(),
            child,
            log,
        }
    }

    #[track_caller]
    fn start(&self, ns: &NetNs, stdout: Stdio, stderr: Stdio) -> Child {
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(stderr);
        // The child inherits the namespace of the thread that starts it.
        ns.run(|| command.spawn()).unwrap_or_else(|e| {
            let hint = match e.kind() {
                std::io::ErrorKind::NotFound => {
                    "\nhint: `cargo xtask setup` installs the lab's tools"
                }
                _ => "",
            };
            panic!("can not start `{self}` in {}: {e}{hint}", ns.name())
        })
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.program.to_string_lossy())?;
        for arg in &self.args {
            write!(f, " {}", arg.to_string_lossy())?;
        }
        Ok(())
    }
}

/// Writes as much as the program accepts now, and closes its stdin after the last byte.
fn feed(stdin: &mut Option<std::process::ChildStdin>, unwritten: &mut &[u8]) {
    while let Some(pipe) = stdin {
        if unwritten.is_empty() {
            *stdin = None;
            return;
        }
        match pipe.write(unwritten) {
            Ok(n) => *unwritten = &unwritten[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
            // The program ended, or closed its stdin, without reading everything. It may.
            Err(_) => *stdin = None,
        }
    }
}

/// Reads what is there, and closes the pipe at its end.
fn drain(pipe: &mut Option<impl Read>, into: &mut Vec<u8>) {
    let Some(reader) = pipe else { return };
    match reader.read_to_end(into) {
        Ok(_) => *pipe = None,
        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
        Err(e) => panic!("can not read a pipe: {e}"),
    }
}

/// Returns a descriptor that becomes readable when the child ends (pidfd_open(2)).
fn end_of(child: &Child) -> OwnedFd {
    // SAFETY: the call takes two numbers and returns a new descriptor, which nothing else owns.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, child.id(), 0);
        let fd = i32::try_from(fd).expect("a descriptor");
        assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
        OwnedFd::from_raw_fd(fd)
    }
}

/// Sleeps until the child ends, a pipe can be read or written, or a moment has passed.
fn wait_for(
    ends: &OwnedFd,
    stdin: &Option<impl AsFd>,
    out: &Option<impl AsFd>,
    err: &Option<impl AsFd>,
) {
    let mut fds = vec![PollFd::new(ends.as_fd(), PollFlags::POLLIN)];
    if let Some(fd) = stdin {
        fds.push(PollFd::new(fd.as_fd(), PollFlags::POLLOUT));
    }
    for fd in [out.as_ref().map(AsFd::as_fd), err.as_ref().map(AsFd::as_fd)]
        .into_iter()
        .flatten()
    {
        fds.push(PollFd::new(fd, PollFlags::POLLIN));
    }
    let moment = PollTimeout::try_from(MOMENT).expect("a few milliseconds fit");
    match poll(&mut fds, moment) {
        Ok(_) | Err(nix::errno::Errno::EINTR) => {}
        Err(e) => panic!("can not poll a pipe: {e}"),
    }
}

/// What a program did and printed.
#[derive(Debug, Clone)]
#[must_use]
pub struct Output {
    /// The command line.
    pub command: String,
    /// Name of the namespace in which it ran.
    pub namespace: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout, as text.
    pub stdout: String,
    /// What it wrote to stderr, as text.
    pub stderr: String,
    /// It was killed because its time limit was over.
    pub timed_out: bool,
    /// Time from start to end.
    pub elapsed: Duration,
}

impl Output {
    /// Returns whether it ended by itself with code 0.
    pub fn success(&self) -> bool {
        self.status.success() && !self.timed_out
    }

    /// Returns the exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Panics with the whole output unless it succeeded.
    #[track_caller]
    pub fn expect_success(self) -> Self {
        assert!(self.success(), "{self}");
        self
    }

    /// Panics with the whole output unless it ended with this exit code.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert!(self.code() == Some(code), "expected code {code}: {self}");
        self
    }

    /// Returns stdout parsed as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("not JSON ({e}): {self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let killed = if self.timed_out {
            ", killed after its time limit"
        } else {
            ""
        };
        writeln!(
            f,
            "`{}` in {}: {}{killed}, {:?}",
            self.command, self.namespace, self.status, self.elapsed
        )?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in text.lines() {
                writeln!(f, "  {name}: {line}")?;
            }
        }
        Ok(())
    }
}

/// A program that runs beside the test. Dropping the value kills it.
#[derive(Debug)]
pub struct Background {
    command: String,
    child: Child,
    log: tempfile::NamedTempFile,
}

impl Background {
    /// Returns its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns what it has written so far, stdout and stderr in order.
    pub fn output(&self) -> String {
        let bytes = std::fs::read(self.log.path()).expect("the output file is there");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Returns its exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be waited for")
    }

    /// Sends it a signal.
    #[track_caller]
    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.pid()).expect("a pid fits"));
        if let Err(e) = nix::sys::signal::kill(pid, signal) {
            panic!("can not send {signal} to `{}`: {e}", self.command);
        }
    }

    /// Waits until it ends by itself; panics with its output if it does not end in time.
    #[track_caller]
    pub fn wait(&mut self, timeout: Duration) -> ExitStatus {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "`{}` is still running after {timeout:?}; it wrote:\n{}",
                self.command,
                self.output()
            );
            std::thread::sleep(ASK_AGAIN);
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail only if it has already ended.
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}
