//! Runs a virtual machine in software emulation. It needs no hardware support and uses none.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};

/// The emulator. It emulates x86-64, because the kernels are for x86-64.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// How long a machine may run. The slowest kernel was seen to take half an hour for everything,
/// on two busy processors.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// The number that a machine's first process writes to the exit device when all went well. The
/// emulator then exits with twice that plus one. When the kernel panics it exits with 0.
const WELL: i32 = 1;

/// What a kernel prints when one of its processors meets a breakpoint that is gone already.
///
/// The kernel puts a breakpoint into its own code while it switches a static branch, and waits
/// for every processor before the next step. An emulator with one thread per processor can go on
/// in code that it translated before. One thread for all processors would prevent this, and takes
/// twice as long.
const STUMBLE: &str = "int3: 0000 [";

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its first process reported that every program succeeded.
    Well,
    /// Its first process reported a failure, or nothing; with the emulator's exit code.
    Badly(Option<i32>),
    /// It met the emulator's own fault, see [`STUMBLE`].
    Stumbled,
    /// It was still running when its time was up.
    OutOfTime,
}

/// Boots a kernel and waits for its end. Shows what it prints and writes it to `log`, with the
/// seconds since the start. Writes what its programs print, without the kernel's own messages, to
/// `results`.
pub fn run(kernel: &Path, image: &Path, log: &Path, results: &Path) -> Result<End> {
    let mut file = File::create(log).with_context(|| format!("can not write {}", log.display()))?;
    let mut machine = Command::new(EMULATOR)
        // Without a size the translated code takes a gigabyte; with a quarter of this one the
        // emulator keeps discarding code and translating it again.
        .args(["-accel", "tcg,tb-size=512", "-cpu", "max"])
        .args(["-smp", "2", "-m", "1024"])
        .args(["-nodefaults", "-no-user-config", "-no-reboot"])
        .args(["-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-serial"])
        .arg(format!("file:{}", results.display()))
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-kernel")
        .arg(kernel)
        .arg("-initrd")
        .arg(image)
        .args(["-append", "console=ttyS0 quiet oops=panic panic=-1"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("can not run {EMULATOR}"))?;
    let console = machine.stdout.take().context("the console is a pipe")?;
    let (lines, arriving) = channel();
    let reader = thread::spawn(move || {
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    let began = Instant::now();
    let deadline = began + PATIENCE;
    let mut stumbled = false;
    let outcome = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match arriving.recv_timeout(left) {
            Ok(line) => {
                let line = String::from_utf8_lossy(&line);
                let line = line.trim_end_matches('\r');
                println!("  {line}");
                stumbled |= line.contains(STUMBLE);
                let seconds = began.elapsed().as_secs_f32();
                if let Err(error) = writeln!(file, "{seconds:7.1} {line}") {
                    break Err(error).context("can not write the log");
                }
            }
            Err(RecvTimeoutError::Disconnected) => break Ok(true),
            Err(RecvTimeoutError::Timeout) => break Ok(false),
        }
    };
    let ended = match outcome {
        Ok(true) => end(&mut machine).map(|ended| match ended {
            End::Badly(_) if stumbled => End::Stumbled,
            ended => ended,
        }),
        Ok(false) => stop(&mut machine).map(|()| End::OutOfTime),
        Err(error) => stop(&mut machine).and(Err(error)),
    };
    drop(arriving);
    ensure!(reader.join().is_ok(), "the reader of the console panicked");
    ended
}

fn end(machine: &mut Child) -> Result<End> {
    let status = machine.wait().context("can not wait for the machine")?;
    Ok(match status.code() {
        Some(WELL) => End::Well,
        other => End::Badly(other),
    })
}

fn stop(machine: &mut Child) -> Result<()> {
    machine.kill().context("can not stop the machine")?;
    machine.wait().context("can not wait for the machine")?;
    Ok(())
}
