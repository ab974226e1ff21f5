//! What an entry of the registry of keys (`keys.rs`) is.

use super::{
    input::{Input, Mistake},
    literal::Value,
};

/// One key of the configuration. `T` is what the key belongs to: the policy, an ENI or a rule.
pub(super) struct Key<T: 'static> {
    /// Its name in the file.
    pub name: &'static str,
    /// The values it accepts.
    pub accepts: Accepts,
    /// What it does, in one paragraph: the line of the reference page, and the comment in
    /// contrib/config.toml. Backquotes mark what people type.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only the tests write documents")
    )]
    pub about: &'static str,
    /// Its line in contrib/config.toml.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only the tests write documents")
    )]
    pub example: Example,
    /// The flag that sets it.
    pub flag: Option<Flag>,
    /// Sets it.
    pub set: fn(&mut T, Input<'_>) -> Result<(), Mistake>,
    /// Its value; `None`: it is not set.
    pub get: fn(&T) -> Option<Value>,
}

/// The values that a key accepts.
pub(super) enum Accepts {
    /// `true` or `false`.
    Switch,
    /// One of a few words.
    Words(fn() -> Vec<&'static str>),
    /// What the text describes.
    Form(
        #[cfg_attr(
            not(test),
            expect(dead_code, reason = "only the tests write documents")
        )]
        &'static str,
    ),
}

#[cfg(test)]
impl Accepts {
    /// In words, for the reference page.
    pub fn describe(&self) -> String {
        use super::value::alternatives;
        match self {
            Self::Switch => "`true` or `false`".to_owned(),
            Self::Words(names) => {
                let words: Vec<String> = names().iter().map(|w| format!("`\"{w}\"`")).collect();
                alternatives(&words)
            }
            Self::Form(text) => (*text).to_owned(),
        }
    }
}

/// The line of a key in contrib/config.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Example {
    /// The key with its default.
    Default,
    /// The key with this value.
    Value(&'static str),
    /// The key with this value, in a second table, because the first has a key that excludes
    /// it.
    Apart(&'static str),
}

/// A flag of the command line that sets a key.
pub(super) struct Flag {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What stands for its value in the help. A flag of an `[[eni]]` key takes `ENI=` before
    /// it; a flag of a `[policy]` key that is also one of an `[[eni]]` key accepts both forms.
    pub value: &'static str,
    /// Its line in the help.
    pub help: &'static str,
    /// Whether it may be given several times.
    pub repeats: bool,
}
