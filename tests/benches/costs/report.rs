//! What was found, and whether it is within bounds: as a table and as JSON. Pure.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::machine::Machine;

/// One number.
#[derive(Clone, Debug)]
pub struct Finding {
    what: String,
    value: f64,
    unit: &'static str,
    bound: Option<Bound>,
    point: Option<(&'static str, f64)>,
}

/// What a number has to be.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Finding {
    /// A number that is only told.
    pub fn new(what: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self {
            what: what.into(),
            value,
            unit,
            bound: None,
            point: None,
        }
    }

    /// The same, as a point of a curve.
    #[must_use]
    pub fn at(mut self, curve: &'static str, x: f64) -> Self {
        self.point = Some((curve, x));
        self
    }

    /// The curve it is a point of, and the point.
    pub fn point(&self) -> Option<(&'static str, (f64, f64))> {
        self.point.map(|(curve, x)| (curve, (x, self.value)))
    }

    /// The same, to be this or less.
    #[must_use]
    pub fn at_most(mut self, bound: f64) -> Self {
        self.bound = Some(Bound::AtMost(bound));
        self
    }

    /// The same, to be this or more.
    #[must_use]
    pub fn at_least(mut self, bound: f64) -> Self {
        self.bound = Some(Bound::AtLeast(bound));
        self
    }

    /// Whether it has a bound.
    pub fn is_bounded(&self) -> bool {
        self.bound.is_some()
    }

    /// Whether it is within its bound, if it has one.
    fn met(&self) -> Option<bool> {
        Some(match self.bound? {
            Bound::AtMost(bound) => self.value <= bound,
            Bound::AtLeast(bound) => self.value >= bound,
        })
    }

    /// What it is about, its value, its bound, and whether that is met.
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

/// As many digits as say something.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        whole if whole >= 100.0 || whole.fract() == 0.0 => 0,
        small if small < 10.0 => 2,
        _ => 1,
    };
    format!("{value:.digits$}")
}

/// What one benchmark found.
pub struct Section {
    /// Its name.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// How long it took.
    pub elapsed: Duration,
    /// The numbers.
    pub findings: Vec<Finding>,
}

/// Everything that was measured at one go.
pub struct Run {
    /// On which machine.
    pub machine: Machine,
    /// What was found.
    pub sections: Vec<Section>,
    /// Benchmarks that could not be run.
    pub failed: Vec<&'static str>,
}

impl Run {
    /// Nothing measured yet.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            sections: Vec::new(),
            failed: Vec::new(),
        }
    }

    /// Takes in and prints what a benchmark found.
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

    /// What is out of its bound.
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

    /// All of it.
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
