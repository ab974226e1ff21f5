//! The machine on which the benchmarks ran.

use std::fmt;
use std::fs;
use std::time::SystemTime;

use serde_json::{Value, json};

/// The machine and the time.
pub struct Machine {
    /// When the run began, in UTC.
    pub date: String,
    /// The output of `uname -r`.
    pub kernel: String,
    /// Name of the first CPU.
    pub cpu: String,
    /// How many CPUs may run this program.
    pub cpus: usize,
    /// Memory in MiB.
    pub memory: u64,
    /// Load average of the last minute before the run.
    pub load: String,
}

impl Machine {
    /// Returns this machine as it is now.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split_once(':'));
            value.map_or_else(String::new, |(_, value)| value.trim().to_owned())
        };
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let kib = memory.split(' ').next().and_then(|kib| kib.parse().ok());
        let load = read("/proc/loadavg");
        Self {
            date: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: field(&read("/proc/cpuinfo"), "model name"),
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            memory: kib.unwrap_or(0u64) / 1024,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// Returns the same as JSON.
    pub fn json(&self) -> Value {
        json!({
            "date": self.date,
            "kernel": self.kernel,
            "cpu": self.cpu,
            "cpus": self.cpus,
            "memory_mib": self.memory,
            "load_before": self.load,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}, Linux {}, {} x {}, {} MiB, load {}",
            self.date, self.kernel, self.cpus, self.cpu, self.memory, self.load
        )
    }
}
