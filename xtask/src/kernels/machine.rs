//! A virtual machine, in software emulation: no hardware support is needed, and none is used.

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

/// The emulator; x86-64 because the kernels are.
pub const EMULATOR: &str = "qemu-system-x86_64";

/// Longer than the slowest kernel takes for everything, on two processors that are busy with
/// other things as well: half an hour was seen.
const PATIENCE: Duration = Duration::from_secs(2 * 60 * 60);

/// What a machine's first process writes to the exit device to say that all went well: the
/// emulator ends with twice that plus one. It ends with 0 when the kernel panics.
const WELL: i32 = 1;

/// What a kernel says when one of its processors has met a breakpoint that is gone. The kernel puts
/// one into its text where it switches a static branch, and waits for every processor before it
/// takes the next step; an emulator with a thread for each processor can go on in what it had
/// translated before. One thread for all of them would rule that out, and takes twice as long.
const STUMBLE: &str = "int3: 0000 [";

/// How a machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its first process said that every program succeeded.
    Well,
    /// It said something else, or nothing; the emulator's exit code.
    Badly(Option<i32>),
    /// It ran into the emulator's own fault: see [`STUMBLE`].
    Stumbled,
    /// It was still running when its time was over.
    OutOfTime,
}

/// Boots a kernel, shows and keeps what it prints with the seconds it took until then, and waits
/// for its end. `results` becomes
/// what its programs print, without the kernel's own messages.
pub fn run(kernel: &Path, image: &Path, log: &Path, results: &Path) -> Result<End> {
    let mut file = File::create(log).with_context(|| format!("can not write {}", log.display()))?;
    let mut machine = Command::new(EMULATOR)
        // Without the size, the translated code takes a gigabyte; with a quarter of this one it
        // is thrown away and made anew all the time.
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
