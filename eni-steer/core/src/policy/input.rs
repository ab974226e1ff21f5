//! The value of a key as someone wrote it, in a file or in a flag, and what can be wrong with
//! it.

use std::{borrow::Cow, ops::Range};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// The value of a key, as written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Input<'a> {
    /// In a file.
    File(&'a Spanned<DeValue<'a>>),
    /// In a flag. A flag sets a list by its items: each use of the flag adds one.
    Flag(&'a str),
}

/// Why a key does not accept a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    /// What is wrong.
    pub what: String,
    /// The part of the file that is wrong, if it is only a part of the value.
    pub span: Option<Range<usize>>,
    /// What to write instead.
    pub hint: Option<String>,
}

impl From<String> for Mistake {
    fn from(what: String) -> Self {
        Self {
            what,
            span: None,
            hint: None,
        }
    }
}

impl Mistake {
    /// Names the part of the file that is wrong.
    pub fn at(self, span: Range<usize>) -> Self {
        Self {
            span: Some(span),
            ..self
        }
    }

    /// Says what to write instead.
    pub fn hint(self, hint: String) -> Self {
        Self {
            hint: Some(hint),
            ..self
        }
    }
}

impl<'a> Input<'a> {
    /// Whether a flag holds the value.
    pub fn is_flag(self) -> bool {
        matches!(self, Self::Flag(_))
    }

    /// A string.
    fn text(self) -> Result<&'a str, Mistake> {
        match self {
            Self::Flag(text) => Ok(text),
            Self::File(value) => value
                .get_ref()
                .as_str()
                .ok_or_else(|| self.expected("a string")),
        }
    }

    /// Reads a string with `parse`.
    pub fn read<T>(self, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Mistake> {
        Ok(parse(self.text()?)?)
    }

    /// Reads a string or a number with `parse`: `80` and `"80-90"` are both ports.
    pub fn read_number_or_string<T>(
        self,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Mistake> {
        let text = match self {
            Self::File(value) => match value.get_ref() {
                DeValue::String(text) => Cow::Borrowed(text.as_ref()),
                DeValue::Integer(number) => {
                    let decimal = i64::from_str_radix(number.as_str(), number.radix());
                    // What is too large for an i64 is too large for any key; `parse` says so.
                    decimal
                        .map_or_else(|_| number.to_string(), |n| n.to_string())
                        .into()
                }
                DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_)
                | DeValue::Table(_) => return Err(self.expected("a number or a string")),
            },
            Self::Flag(text) => Cow::Borrowed(text),
        };
        Ok(parse(&text)?)
    }

    /// A whole number.
    pub fn whole_number(self) -> Result<u32, Mistake> {
        let number = match self {
            Self::Flag(text) => text.parse().ok(),
            Self::File(value) => value
                .get_ref()
                .as_integer()
                .and_then(|n| u32::from_str_radix(n.as_str(), n.radix()).ok()),
        };
        number.ok_or_else(|| self.expected(&format!("a whole number from 0 to {}", u32::MAX)))
    }

    /// `true` or `false`; in a flag `on` or `off`.
    pub fn switch(self) -> Result<bool, Mistake> {
        match self {
            Self::Flag("on") => Ok(true),
            Self::Flag("off") => Ok(false),
            Self::Flag(_) => Err(self.expected("on or off")),
            Self::File(value) => value
                .get_ref()
                .as_bool()
                .ok_or_else(|| self.expected("true or false")),
        }
    }

    /// Puts a list of strings, each read with `parse`, in place of `list`. A flag adds its one
    /// item to the list, unless the list has it.
    pub fn read_list<T: PartialEq>(
        self,
        list: &mut Vec<T>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<(), Mistake> {
        let array = match self {
            Self::Flag(text) => {
                let item = parse(text)?;
                if !list.contains(&item) {
                    list.push(item);
                }
                return Ok(());
            }
            Self::File(value) => value.get_ref().as_array(),
        };
        let mut items = Vec::new();
        for value in array.ok_or_else(|| self.expected("a list of strings"))? {
            let input = Input::File(value);
            let text = input.text().map_err(|mistake| mistake.at(value.span()))?;
            let item = parse(text).map_err(|what| Mistake::from(what).at(value.span()))?;
            if items.contains(&item) {
                let what = format!("{text} is in the list twice");
                return Err(Mistake::from(what).at(value.span()));
            }
            items.push(item);
        }
        *list = items;
        Ok(())
    }

    /// An inline table.
    pub fn table(self) -> Result<&'a DeTable<'a>, Mistake> {
        let table = match self {
            Self::Flag(_) => None,
            Self::File(value) => value.get_ref().as_table(),
        };
        table.ok_or_else(|| self.expected("a table"))
    }

    fn expected(self, what: &str) -> Mistake {
        let found = match self {
            Self::Flag(text) => format!("'{text}'"),
            Self::File(value) => found(value.get_ref()),
        };
        Mistake::from(format!("expected {what}, found {found}"))
    }
}

/// Describes a value of a file that has the wrong type.
pub(super) fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(_) => "a string".to_owned(),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        DeValue::Boolean(on) => on.to_string(),
        DeValue::Datetime(date) => date.to_string(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a value of a file with `read`.
    fn file<T>(value: &str, read: impl Fn(Input<'_>) -> Result<T, Mistake>) -> Result<T, String> {
        let value = DeValue::parse(value).unwrap_or_else(|error| panic!("{error}"));
        read(Input::File(&value)).map_err(|mistake| mistake.what)
    }

    fn flag<T>(text: &str, read: impl Fn(Input<'_>) -> Result<T, Mistake>) -> Result<T, String> {
        read(Input::Flag(text)).map_err(|mistake| mistake.what)
    }

    /// The text itself, as `parse` sees it.
    fn same(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn items(input: Input<'_>) -> Result<Vec<String>, Mistake> {
        let mut list = vec!["before".to_owned()];
        input.read_list(&mut list, same)?;
        Ok(list)
    }

    #[test]
    fn a_value_of_another_type_is_refused_and_named() {
        let whole = "expected a whole number from 0 to 4294967295, found";
        for (value, found) in [
            ("'7'", "a string"),
            ("-1", "-1"),
            ("4294967296", "4294967296"),
            ("1.5", "1.5"),
            ("true", "true"),
            ("1979-05-27", "1979-05-27"),
            ("[1]", "a list"),
            ("{ a = 1 }", "a table"),
        ] {
            let error = file(value, |input| input.whole_number()).expect_err(value);
            assert_eq!(error, format!("{whole} {found}"));
        }
        let error = |result: Result<String, String>| result.expect_err("another type");
        assert_eq!(
            error(file("7", |input| input.read(same))),
            "expected a string, found 7"
        );
        assert_eq!(
            error(file("true", |input| input.read_number_or_string(same))),
            "expected a number or a string, found true"
        );
        assert_eq!(
            file("'on'", |input| input.switch()),
            Err("expected true or false, found a string".to_owned())
        );
        assert_eq!(
            file("'a'", items),
            Err("expected a list of strings, found a string".to_owned())
        );
        assert_eq!(
            file("[1]", items),
            Err("expected a string, found 1".to_owned())
        );
        assert_eq!(
            file("[]", |input| input.table().map(|table| table.len())),
            Err("expected a table, found a list".to_owned())
        );
        assert_eq!(
            flag("a=1", |input| input.table().map(|table| table.len())),
            Err("expected a table, found 'a=1'".to_owned())
        );
        assert_eq!(
            flag("many", |input| input.whole_number()),
            Err(format!("{whole} 'many'"))
        );
        assert_eq!(
            flag("yes", |input| input.switch()),
            Err("expected on or off, found 'yes'".to_owned())
        );
    }

    #[test]
    fn numbers_may_have_any_base_in_a_file() {
        assert_eq!(file("0x10", |input| input.whole_number()), Ok(16));
        assert_eq!(file("1_000", |input| input.whole_number()), Ok(1000));
        assert_eq!(flag("16", |input| input.whole_number()), Ok(16));
        let text = |value| file(value, |input| input.read_number_or_string(same));
        assert_eq!(text("0x10"), Ok("16".to_owned()));
        assert_eq!(text("'0x10'"), Ok("0x10".to_owned()));
        assert_eq!(
            text("99999999999999999999"),
            Ok("99999999999999999999".to_owned())
        );
        let text = flag("0x10", |input| input.read_number_or_string(same));
        assert_eq!(text, Ok("0x10".to_owned()));
    }

    #[test]
    fn a_switch_is_true_or_false_in_a_file_and_on_or_off_in_a_flag() {
        assert_eq!(file("true", |input| input.switch()), Ok(true));
        assert_eq!(file("false", |input| input.switch()), Ok(false));
        assert_eq!(flag("on", |input| input.switch()), Ok(true));
        assert_eq!(flag("off", |input| input.switch()), Ok(false));
        assert!(flag("true", |input| input.switch()).is_err());
    }

    #[test]
    fn a_list_of_a_file_replaces_the_list_and_a_flag_adds_to_it() {
        let list = |items: &[&str]| Ok(items.iter().map(|item| (*item).to_owned()).collect());
        assert_eq!(file("['a', 'b']", items), list(&["a", "b"]));
        assert_eq!(file("[]", items), list(&[]));
        assert_eq!(flag("a", items), list(&["before", "a"]));
        assert_eq!(flag("before", items), list(&["before"]));
        assert_eq!(
            file("['a', 'a']", items),
            Err("a is in the list twice".to_owned())
        );
    }

    #[test]
    fn a_mistake_in_a_list_points_at_the_item() {
        let span = |text: &str| {
            let value = DeValue::parse(text).unwrap_or_else(|error| panic!("{error}"));
            let parse = |text: &str| match text {
                "bad" => Err("bad".to_owned()),
                text => Ok(text.to_owned()),
            };
            let result = Input::File(&value).read_list(&mut Vec::new(), parse);
            result.expect_err(text).span
        };
        assert_eq!(span("['a', 'bad']"), Some(6..11));
        assert_eq!(span("['a', 7]"), Some(6..7));
        assert_eq!(span("['a', 'a']"), Some(6..9));
        assert_eq!(span("'a'"), None);
    }

    #[test]
    fn only_a_flag_is_a_flag() {
        assert_eq!(flag("a", |input| Ok(input.is_flag())), Ok(true));
        assert_eq!(file("'a'", |input| Ok(input.is_flag())), Ok(false));
    }
}
