//! Runs the eni-steer command on a lab's host as an administrator runs it, with a private bpffs
//! and a private run directory.

use std::path::{Path, PathBuf};

use crate::{Bpffs, Call, Lab, Output, Shape, assert_unchanged, dump};

/// One installation of eni-steer. Nothing else uses its pins, its saved state or its
/// configuration.
#[derive(Debug)]
pub struct Steer {
    bpffs: Bpffs,
    run: tempfile::TempDir,
    etc: tempfile::TempDir,
}

impl Default for Steer {
    fn default() -> Self {
        Self::new()
    }
}

impl Steer {
    /// Mounts a bpffs and makes directories for the saved state and the configuration. Dropping
    /// the value removes them all.
    pub fn new() -> Self {
        let directory = || tempfile::tempdir().expect("a temporary directory can be made");
        Self {
            bpffs: Bpffs::mount_private(),
            run: directory(),
            etc: directory(),
        }
    }

    /// Makes an installation whose `config.toml` has this text.
    pub fn configured(text: &str) -> Self {
        let steer = Self::new();
        steer.configure("config.toml", text);
        steer
    }

    /// Writes a file of the configuration: `config.toml`, `conf.d/10-mode.toml`.
    pub fn configure(&self, name: &str, text: &str) {
        let path = self.etc.path().join(name);
        let directory = path.parent().expect("a file is in a directory");
        std::fs::create_dir_all(directory).expect("a directory can be made");
        std::fs::write(&path, text).expect("a configuration can be written");
    }

    /// Returns the path of `config.toml`, whether it exists or not.
    pub fn config(&self) -> PathBuf {
        self.etc.path().join("config.toml")
    }

    /// Returns the bpffs in which this installation pins.
    pub fn bpffs(&self) -> &Bpffs {
        &self.bpffs
    }

    /// Returns the directory in which eni-steer saves previous values.
    pub fn run_dir(&self) -> &std::path::Path {
        self.run.path()
    }

    /// Returns the command with the paths of this installation, ready for more arguments.
    pub fn call(&self, args: &[&str]) -> Call {
        let call = Call::new(binary())
            .args(args)
            .env("ENI_STEER_BPFFS", self.bpffs.path())
            .env("ENI_STEER_RUN", self.run.path());
        // If the command line names a file, the file must exist.
        match self.config() {
            config if config.exists() => call.env("ENI_STEER_CONFIG", config),
            _ => call,
        }
    }

    /// Runs it on the lab's host.
    pub fn run(&self, lab: &Lab, args: &[&str]) -> Output {
        self.call(args).run(&lab.host)
    }

    /// Runs it and returns what it printed; panics unless it succeeds.
    pub fn ok(&self, lab: &Lab, args: &[&str]) -> String {
        self.run(lab, args).expect_success().stdout
    }

    /// Runs it on the lab's host; panics unless it exits with this code.
    #[track_caller]
    pub fn exits(&self, lab: &Lab, args: &[&str], code: i32) {
        drop(self.run(lab, args).expect_code(code));
    }

    /// Runs `apply` for all ENIs of the lab with these arguments. It names the gateways that
    /// eni-steer can not find out there.
    #[track_caller]
    pub fn apply(&self, lab: &Lab, args: &[&str]) -> String {
        self.ok(lab, &with_enis(lab, "apply", args).refs())
    }

    /// Runs `plan` with the same arguments.
    pub fn plan(&self, lab: &Lab, args: &[&str]) -> Output {
        self.run(lab, &with_enis(lab, "plan", args).refs())
    }

    /// Returns everything on the host that a command could change, as text that can be compared:
    /// the network configuration, the pins, and the files of the run directory with their
    /// content.
    #[track_caller]
    pub fn world(&self, lab: &Lab) -> String {
        let mut text = dump(&lab.host);
        text += "== pins\n";
        for pin in self.bpffs.pins() {
            text += &format!("{pin}\n");
        }
        text += "== run directory\n";
        files(self.run.path(), self.run.path(), &mut text);
        text
    }

    /// Expects that the command refuses. It must exit with this code and print nothing to stdout.
    /// On stderr the first line must be an `error:` that names the object; only `caused by:` and
    /// `hint:` lines may follow, with at least one hint. Host, pins and run directory must not
    /// change. Returns stderr.
    #[track_caller]
    pub fn refuses(&self, lab: &Lab, args: &[&str], code: i32, naming: &[&str]) -> String {
        let before = self.world(lab);
        let output = self.run(lab, args).expect_code(code);
        expect_error(&output, naming);
        assert_unchanged(&before, &self.world(lab));
        output.stderr
    }

    /// Runs it with `-j` and parses the report, whatever the exit code.
    pub fn json(&self, lab: &Lab, args: &[&str]) -> serde_json::Value {
        let args: Vec<&str> = args.iter().copied().chain(["-j"]).collect();
        self.run(lab, &args).json()
    }
}

/// Checks that the output is an error in the form that every command uses.
#[track_caller]
pub fn expect_error(output: &Output, naming: &[&str]) {
    assert!(
        output.stdout.is_empty(),
        "an error, but also output on stdout: {output}"
    );
    let mut lines = output.stderr.lines();
    let first = lines.next().unwrap_or_default();
    assert!(
        first.starts_with("error: "),
        "stderr does not begin with an error: {output}"
    );
    for name in naming {
        assert!(
            first.contains(name),
            "the error does not name {name}: {output}"
        );
    }
    let mut hints = 0;
    for line in lines {
        assert!(
            line.starts_with("caused by: ") || line.starts_with("hint: "),
            "stderr has more than an error, its causes and a hint: {output}"
        );
        hints += usize::from(line.starts_with("hint: ") && line.len() > "hint: ".len());
    }
    assert!(hints == 1, "stderr must have one hint: {output}");
}

/// Collects arguments that are not all literals.
struct Words(Vec<String>);

impl Words {
    fn refs(&self) -> Vec<&str> {
        self.0.iter().map(String::as_str).collect()
    }
}

fn with_enis(lab: &Lab, command: &str, args: &[&str]) -> Words {
    let mut words = vec![command.to_owned()];
    for eni in lab.enis() {
        words.extend(["--eni".to_owned(), eni.name.clone()]);
    }
    if lab.shape() == Shape::DifferentSubnets {
        // Nothing on the host shows the gateways of these ENIs.
        for eni in lab.enis().iter().skip(1) {
            for gateway in [eni.gateway_v4.to_string(), eni.gateway_v6.to_string()] {
                words.extend(["--gateway".to_owned(), format!("{}={gateway}", eni.name)]);
            }
        }
    }
    words.extend(args.iter().map(|arg| (*arg).to_owned()));
    Words(words)
}

/// Adds the files below a directory to `text`, sorted, with their content.
fn files(root: &Path, directory: &Path, text: &mut String) {
    // `remove` deletes the directory once it is empty; like /run/eni-steer it need not exist.
    let Ok(entries) = std::fs::read_dir(directory) else {
        return;
    };
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.expect("the run directory can be listed").path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path
            .strip_prefix(root)
            .expect("the path is below the run directory")
            .display()
            .to_string();
        if path.is_dir() {
            text.push_str(&format!("{name}/\n"));
            files(root, &path, text);
        } else {
            let content = std::fs::read_to_string(&path).expect("a file of text");
            text.push_str(&format!("{name}:\n{content}\n"));
        }
    }
}

/// Returns the path of the command under test: `ENI_STEER_BIN`, or what cargo built beside this
/// program.
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("ENI_STEER_BIN") {
        return path.into();
    }
    let me = std::env::current_exe().expect("a program knows its path");
    let found = me
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("eni-steer"))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "no eni-steer beside {}: cargo build --package eni-steer",
            me.display()
        )
    })
}
