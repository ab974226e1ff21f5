//! The first process of a virtual machine that runs tests on another kernel (`cargo xtask test
//! --kernel`). It follows the file `/orders`: it loads modules, runs groups of tests one after
//! another, each with one call of its program, and ends the machine with their verdict.
//!
//! ```text
//! module /modules/veth.ko
//! program /tests/lab
//! group kernels
//! test kernels::the_programs_load
//! argument --test-threads=2
//! ```
//!
//! It leaves out the tests that need something this kernel does not have, and prints a line
//! `skipped: NAME: WHY` for each.
//!
//! Its own output and that of the programs goes to the console and, without the kernel's messages
//! in between, to a second serial port. It ends the machine through qemu's isa-debug-exit device.
//! If this process ends in any other way the kernel panics, which does not count as success
//! either.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use eni_steer_tests::Feature;
use nix::mount::{MsFlags, mount, umount};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

/// The I/O port of the exit device.
const EXIT_PORT: u16 = 0xf4;

/// The serial port that carries only results.
const RESULTS: &str = "/dev/ttyS1";

/// Longer than any group of tests takes. A group that hangs is killed after this, and the next
/// one runs.
const PATIENCE: Duration = Duration::from_secs(45 * 60);

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("error: vm-init is the first process of a virtual machine, and of nothing else");
        return ExitCode::FAILURE;
    }
    let well = match work() {
        Ok(well) => well,
        Err(error) => {
            println!("init: {error:#}");
            false
        }
    };
    let error = end(well);
    println!("init: the machine can not be ended: {error}");
    ExitCode::FAILURE
}

/// What the file of orders contains.
#[derive(Default)]
struct Orders {
    modules: Vec<String>,
    groups: Vec<Group>,
    arguments: Vec<String>,
}

/// Tests of one program that run together.
#[derive(Debug, Default, PartialEq, Eq)]
struct Group {
    name: String,
    program: String,
    tests: Vec<String>,
}

fn work() -> Result<bool> {
    for (what, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("tmpfs", "/run"),
        ("bpf", "/sys/fs/bpf"),
    ] {
        mount(
            Some(what),
            place,
            Some(what),
            MsFlags::empty(),
            None::<&str>,
        )
        .with_context(|| format!("can not mount {what} on {place}"))?;
    }
    let orders = Orders::read(&fs::read_to_string("/orders").context("can not read /orders")?)?;
    for module in &orders.modules {
        if let Err(error) = load(module) {
            println!("init: {module}: {error}");
        }
    }
    let status = command("ip").args(["link", "set", "lo", "up"]).status();
    if !status.context("can not run ip")?.success() {
        bail!("can not set lo up");
    }
    let mut results = OpenOptions::new()
        .write(true)
        .open(RESULTS)
        .with_context(|| format!("can not open {RESULTS}"))?;
    let mut arguments = orders.arguments;
    // Include the tests that are ignored elsewhere because they need a machine of their own. The
    // tests are given by their full names.
    arguments.extend(["--include-ignored", "--exact"].map(str::to_owned));
    let absent: Vec<Feature> = Feature::absent().collect();
    let mut well = true;
    for mut group in orders.groups {
        hide_types(group.name != WITH_TYPES)?;
        tell(&mut results, &format!("program {}", group.name))?;
        for line in group.leave_out(&absent) {
            tell(&mut results, &line)?;
        }
        if group.tests.is_empty() {
            continue;
        }
        match run(&group, &arguments, &mut results) {
            Ok(true) => {}
            Ok(false) => well = false,
            Err(error) => {
                tell(&mut results, &format!("init: {}: {error:#}", group.name))?;
                well = false;
            }
        }
    }
    let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = uptime.split(' ').next().unwrap_or_default();
    println!("init: {seconds} s since the kernel started");
    Ok(well)
}

impl Orders {
    fn read(text: &str) -> Result<Self> {
        let mut orders = Self::default();
        for line in text.lines() {
            let (what, value) = line.split_once(' ').unwrap_or((line, ""));
            let value = value.to_owned();
            if what == "program" {
                orders.groups.push(Group {
                    program: value,
                    ..Group::default()
                });
                continue;
            }
            match (what, orders.groups.last_mut()) {
                ("module", _) => orders.modules.push(value),
                ("argument", _) => orders.arguments.push(value),
                ("group", Some(group)) => group.name = value,
                ("test", Some(group)) => group.tests.push(value),
                _ => bail!("what is {line}?"),
            }
        }
        Ok(orders)
    }
}

impl Group {
    /// Removes the tests that need one of these features; returns one line for each.
    fn leave_out(&mut self, absent: &[Feature]) -> Vec<String> {
        let mut lines = Vec::new();
        self.tests.retain(|test| {
            let missing = absent.iter().find(|f| test.contains(f.marker()));
            lines.extend(missing.map(|f| format!("skipped: {test}: {}", f.why_skipped())));
            missing.is_none()
        });
        lines
    }
}

/// The group that sees the kernel's description of its types.
const WITH_TYPES: &str = "kernels";

/// Hides the kernel's description of its types (BTF), or shows it again. Whenever an object is
/// loaded, user space reads all of it, half a second in the emulator, and nothing in eni-steer's
/// programs depends on it.
fn hide_types(hidden: bool) -> Result<()> {
    const TYPES: &str = "/sys/kernel/btf";
    let is_hidden = !fs::exists(format!("{TYPES}/vmlinux")).context("can not look for types")?;
    if hidden && !is_hidden {
        let nothing = Some("tmpfs");
        mount(nothing, TYPES, nothing, MsFlags::empty(), None::<&str>)
            .with_context(|| format!("can not hide {TYPES}"))?;
    } else if !hidden && is_hidden {
        umount(TYPES).with_context(|| format!("can not show {TYPES}"))?;
    }
    Ok(())
}

fn load(module: &str) -> Result<()> {
    let file = File::open(module)?;
    nix::kmod::finit_module(&file, c"", nix::kmod::ModuleInitFlags::empty())?;
    Ok(())
}

fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin")
        .env("ENI_STEER_BIN", "/usr/bin/eni-steer")
        .env("ENI_STEER_TEST_SLOWNESS", "6")
        // The machine belongs to the tests, so they may set its clock.
        .env("ENI_STEER_OWN_CLOCK", "1")
        .env("ENI_STEER_CASES", "3000")
        .env("HOME", "/tmp")
        .stdin(Stdio::null());
    command
}

/// Runs a group of tests; returns whether it succeeded.
fn run(group: &Group, arguments: &[String], results: &mut File) -> Result<bool> {
    let name = &group.name;
    let (reader, writer) = std::io::pipe().context("can not make a pipe")?;
    let mut command = command(&group.program);
    command.args(arguments).args(&group.tests);
    let child = command
        .stdout(writer.try_clone().context("can not duplicate a pipe")?)
        .stderr(writer)
        .spawn()
        .context("can not start it")?;
    // From here on only the child and its children have the writing end.
    drop(command);
    let pid = Pid::from_raw(i32::try_from(child.id()).context("a pid fits")?);
    // Another thread kills a program that hangs, because this one waits for its output.
    std::thread::spawn(move || {
        std::thread::sleep(PATIENCE);
        if nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).is_ok() {
            println!("init: out of time");
        }
    });
    let mut channel = results.try_clone().context("can not duplicate a file")?;
    let teller = std::thread::spawn(move || -> Result<()> {
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.context("can not read a pipe")?;
            tell(&mut channel, String::from_utf8_lossy(&line).trim_end())?;
        }
        Ok(())
    });
    // The first process becomes the parent of every orphan, so it also waits for those.
    let status = loop {
        match waitpid(None, None).context("can not wait")? {
            status if status.pid() == Some(pid) => break status,
            _ => {}
        }
    };
    // A process in the background may keep the pipe open a moment longer. Everything that counts
    // was written before.
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while !teller.is_finished() && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let well = matches!(status, WaitStatus::Exited(_, 0));
    if !well {
        tell(results, &format!("init: {name} ended: {status:?}"))?;
    }
    Ok(well)
}

/// Prints a line to the console and to the results.
fn tell(results: &mut File, line: &str) -> Result<()> {
    println!("{line}");
    // One write per line, so that lines of two threads do not mix.
    results
        .write_all(format!("{line}\n").as_bytes())
        .with_context(|| format!("can not write to {RESULTS}"))
}

/// Ends the machine; returns only if that fails.
fn end(well: bool) -> std::io::Error {
    // SAFETY: neither call accesses memory of this process.
    unsafe {
        libc::sync();
        if libc::ioperm(EXIT_PORT.into(), 4, 1) != 0 {
            return std::io::Error::last_os_error();
        }
    }
    write_port(EXIT_PORT, u8::from(!well));
    // The emulator ends the machine from another thread, so wait for it.
    std::thread::sleep(Duration::from_secs(10));
    std::io::Error::other("there is no device on the exit port")
}

#[cfg(target_arch = "x86_64")]
fn write_port(port: u16, value: u8) {
    // SAFETY: ioperm has granted the port, and in the machines this runs in it belongs to the
    // emulator.
    unsafe { core::arch::asm!("out dx, al", in("dx") port, in("al") value) };
}

#[cfg(not(target_arch = "x86_64"))]
fn write_port(_port: u16, _value: u8) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_belongs_to_the_program_and_group_above_it() {
        let orders = Orders::read(
            "module /modules/veth.ko\nprogram /tests/lab\ngroup access\ntest access::a\n\
             program /tests/programs\ngroup programs\ntest hooks::b\ntest sums::c\n\
             argument --test-threads=2\n",
        )
        .expect("orders");
        let group = |program: &str, name: &str, tests: &[&str]| Group {
            name: name.to_owned(),
            program: program.to_owned(),
            tests: tests.iter().map(|test| (*test).to_owned()).collect(),
        };
        assert_eq!(
            orders.groups,
            [
                group("/tests/lab", "access", &["access::a"]),
                group("/tests/programs", "programs", &["hooks::b", "sums::c"]),
            ]
        );
        assert_eq!(orders.modules, ["/modules/veth.ko"]);
        assert_eq!(orders.arguments, ["--test-threads=2"]);
        assert!(Orders::read("test access::a\n").is_err(), "of no program");
        assert!(Orders::read("nonsense\n").is_err());
    }

    #[test]
    fn a_test_that_needs_what_is_absent_is_left_out_with_the_reason() {
        let mut group = Group {
            tests: ["x::a", "x::a_with_tcx"].map(str::to_owned).to_vec(),
            ..Group::default()
        };
        assert!(group.leave_out(&[]).is_empty());
        assert_eq!(
            group.leave_out(&[Feature::Tcx]),
            ["skipped: x::a_with_tcx: no TCX on this kernel (needs 6.6)"]
        );
        assert_eq!(group.tests, ["x::a"]);
    }
}
