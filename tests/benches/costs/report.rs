//! The measurements, and whether they are within their bounds, as a table and as JSON. It does no
//! I/O.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;

/// One measured number.
#[derive(Clone, Debug)]
pub struct Finding {
    what: String,
    value: f64,
    unit: &'static str,
    bound: Option<Bound>,
    point: Option<(&'static str, f64)>,
}

/// The bound of a number.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

impl Finding {
    /// Makes a number without a bound.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            bound: None,
            point: None,
        }
    }

    /// Makes it a point of a curve.
    #[must_use]
    pub fn at(mut self, curve: &'static str, x: f64) -> Self {
        self.point = Some((curve, x));
        self
    }

    /// Returns the curve that it is a point of, and the point.
    pub fn point(&self) -> Option<(&'static str, (f64, f64))> {
        self.point.map(|(curve, x)| (curve, (x, self.value)))
    }

    /// Gives it an upper bound.
    #[must_use]
    pub fn at_most(mut self, bound: f64) -> Self {
        self.bound = Some(Bound::AtMost(bound));
        self
    }

    /// Gives it a lower bound.
    #[must_use]
    pub fn at_least(mut self, bound: f64) -> Self {
        self.bound = Some(Bound::AtLeast(bound));
        self
    }

    /// Returns whether it has a bound.
    pub fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// Returns whether it is within its bound, if it has one.
    fn met(&self) -> Option<bool> {
        Some(match self.bound? {
            Bound::AtMost(bound) => self.value <= bound,
            Bound::AtLeast(bound) => self.value >= bound,
        })
    }

    /// Returns the cells of its row: what it is, its value, its bound, and whether that is met.
    pub fn cells(&self) -> [String; 4] {
        let bound = match self.bound {
            None => String::new(),
            Some(Bound::AtMost(bound)) => format!("at most {}", number(bound)),
            Some(Bound::AtLeast(bound)) => format!("at least {}", number(bound)),
        };
        let met = match self.met() {
            None => "",
            Some(true) => "met",
            Some(false) => "not met",
        };
        [
            self.what.clone(),
            format!("{} {}", number(self.value), self.unit)
                .trim_end()
                .to_owned(),
            bound,
            met.to_owned(),
        ]
    }

    fn json(&self) -> Value {
        let bound = match self.bound {
            None => Value::Null,
            Some(Bound::AtMost(bound)) => json!({ "at_most": bound }),
            Some(Bound::AtLeast(bound)) => json!({ "at_least": bound }),
        };
        json!({
            "what": self.what,
            "value": self.value,
            "unit": self.unit,
            "bound": bound,
            "met": self.met(),
        })
    }
}

/// Formats a number with as many digits as are significant.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole >= 100.0 || whole.fract() == 0.0 => 0,
        small if small < 10.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

/// The results of one benchmark.
pub struct Section {
    /// Name of the benchmark.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// The numbers that it found.
    pub findings: Vec<Finding>,
}

/// The results of one run of the benchmarks.
pub struct Run {
    /// The machine on which it ran.
    pub machine: Machine,
    /// The results of each benchmark.
    pub sections: Vec<Section>,
    /// Benchmarks that could not be run.
    pub failed: Vec<&'static str>,
}

impl Run {
    /// Starts a run without results.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            sections: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Adds and prints the results of a benchmark.
    pub fn add(
        &mut self,
        name: &'static str,
        about: &'static str,
        elapsed: Duration,
        findings: Vec<Finding>,
    ) {
        let section = Section {
            name,
            about,
            elapsed,
            findings,
        };
        println!("\n{section}");
        self.sections.push(section);
    }

    /// Returns the numbers that are out of bounds.
    pub fn unmet(&self) -> Vec<String> {
        let unmet = |section: &Section| {
            let name = section.name;
            let findings = section.findings.clone();
            findings.into_iter().filter_map(move |finding| {
                let [what, value, bound, _] = finding.cells();
                (finding.met() == Some(false)).then(|| format!("{name}: {what}: {value}, {bound}"))
            })
        };
        self.sections.iter().flat_map(unmet).collect()
    }

    /// Returns everything as JSON.
    pub fn json(&self) -> String {
        let sections: Vec<Value> = self
            .sections
            .iter()
            .map(|section| {
                json!({
                    "name": section.name,
                    "about": section.about,
                    "seconds": section.elapsed.as_secs_f64(),
                    "findings": section.findings.iter().map(Finding::json).collect::<Vec<_>>(),
                })
            })
            .collect();
        let all = json!({
            "machine": self.machine.json(),
            "benchmarks": sections,
            "failed": self.failed,
        });
        format!("{all:#}\n")
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        writeln!(f, "{}: {} ({seconds:.0} s)", self.name, self.about)?;
        let rows: Vec<[String; 4]> = self.findings.iter().map(Finding::cells).collect();
        let width = |column: usize| {
            let widths = rows.iter().map(|row| row[column].chars().count());
            widths.max().unwrap_or(0)
        };
        for [what, value, bound, met] in &rows {
            let line = format!(
                "  {what:<0$}  {value:>1$}  {bound:<2$}  {met}",
                width(0),
                width(1),
                width(2)
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}
