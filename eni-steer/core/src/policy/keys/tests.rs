use std::{collections::BTreeSet, fmt::Debug};

use super::*;
use crate::policy::{
    Entry, Origin, Origins, Section,
    config::{LoadedConfig, SourceFile},
    entries,
    flags::{self, FLAGS},
};

/// A value for each key that is not its default: how a file has it, how `config show` prints
/// it, and for a key with a flag the flag and its values.
struct Sample {
    heading: &'static str,
    key: &'static str,
    file: &'static str,
    shown: &'static str,
    flag: Option<(&'static str, &'static [&'static str])>,
}

const fn sample(
    heading: &'static str,
    key: &'static str,
    file: &'static str,
    shown: &'static str,
) -> Sample {
    Sample {
        heading,
        key,
        file,
        shown,
        flag: None,
    }
}

impl Sample {
    const fn by(self, flag: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            flag: Some((flag, values)),
            ..self
        }
    }
}

const SAMPLES: &[Sample] = &[
    sample("[policy]", "mode", "'steer'", "\"steer\"").by("mode", &["steer"]),
    sample("[policy]", "discover", "'always'", "\"always\""),
    sample("[policy]", "primary", "'full'", "\"full\"").by("primary", &["full"]),
    sample("[policy]", "mirror", "'exact'", "\"exact\""),
    sample("[policy]", "rules", "false", "false").by("rules", &["off"]),
    sample("[policy]", "programs", "false", "false").by("programs", &["off"]),
    sample("[policy]", "sysctls", "false", "false").by("sysctls", &["off"]),
    sample("[policy]", "attach", "'tcx'", "\"tcx\"").by("attach", &["tcx"]),
    sample("[policy]", "table-base", "0x7530", "30000").by("table-base", &["30000"]),
    sample("[policy]", "priorities", "'1000 - 0x7d0'", "\"1000-2000\"").by("band", &["1000-2000"]),
    sample("[policy]", "protocol", "'230'", "230").by("protocol", &["230"]),
    sample("[policy]", "group", "7", "7").by("group", &["7"]),
    sample(
        "[policy]",
        "exempt",
        "['10.0.0.0/8', 'fd00::1']",
        "[\"10.0.0.0/8\", \"fd00::1\"]",
    )
    .by("exempt", &["10.0.0.0/8", "fd00::1"]),
    sample("[policy]", "exempt-mark", "'1/0xff'", "\"0x1/0xff\"").by("exempt-mark", &["1/0xff"]),
    sample("[policy]", "source-length4", "24", "24"),
    sample("[policy]", "source-length6", "64", "64"),
    sample("[policy]", "events-per-second", "7", "7"),
    sample("[policy]", "restore-default-rules", "true", "true"),
    sample("[limits]", "addresses", "17", "17"),
    sample("[limits]", "sources", "2048", "\"2KiB\""),
    sample("[[eni]]", "name", "'eth1'", "\"eth1\"").by("eni", &["eth1"]),
    sample(
        "[[eni]]",
        "mac",
        "'02:00:5E:00:53:01'",
        "\"02:00:5e:00:53:01\"",
    ),
    sample("[[eni]]", "managed", "false", "false"),
    sample("[[eni]]", "table", "1001", "1001").by("table", &["eth1=1001"]),
    sample("[[eni]]", "gateway", "'10.0.0.1'", "\"10.0.0.1\"").by("gateway", &["eth1=10.0.0.1"]),
    sample("[[eni]]", "gateway6", "'fe80::1'", "\"fe80::1\"").by("gateway", &["eth1=fe80::1"]),
    sample("[[eni]]", "addresses", "['10.0.0.1']", "[\"10.0.0.1\"]")
        .by("address", &["eth1=10.0.0.1"]),
    sample(
        "[[eni]]",
        "prefixes",
        "['10.0.0.0/28', 'fd00::/80']",
        "[\"10.0.0.0/28\", \"fd00::/80\"]",
    )
    .by("prefix", &["eth1=10.0.0.0/28", "eth1=fd00::/80"]),
    sample("[[eni]]", "mode", "'drop'", "\"drop\"").by("mode", &["eth1=drop"]),
    sample("[[eni]]", "default-metric", "200", "200"),
    sample("[[rule]]", "from", "'10.0.0.0/8'", "\"10.0.0.0/8\""),
    sample("[[rule]]", "to", "'10.0.0.1/32'", "\"10.0.0.1\""),
    sample("[[rule]]", "proto", "6", "\"tcp\""),
    sample("[[rule]]", "sport", "53", "\"53\""),
    sample("[[rule]]", "dport", "'80-90'", "\"80-90\""),
    sample("[[rule]]", "uid", "0", "\"0\""),
    sample("[[rule]]", "mark", "7", "\"0x7\""),
    sample("[[rule]]", "iif", "'docker0'", "\"docker0\""),
    sample("[[rule]]", "eni", "'eth1'", "\"eth1\""),
    sample("[[rule]]", "action", "'blackhole'", "\"blackhole\""),
    sample(
        "[balance]",
        "weights",
        "{ eth1 = 256, 'a b' = 1 }",
        "{ \"a b\" = 1, eth1 = 256 }",
    ),
    sample("[balance]", "table", "5000", "5000"),
];

fn load(text: &str) -> LoadedConfig {
    let file = SourceFile {
        path: "config.toml".into(),
        text: text.to_owned(),
    };
    LoadedConfig::from_files(&[file]).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The keys that a table needs beside `key`. The key under test has a line of its own: the second
/// of the file.
fn file(sample: &Sample) -> String {
    let (before, beside) = match (sample.heading, sample.key) {
        ("[[eni]]", "name" | "mac") => ("", ""),
        ("[[eni]]", _) => ("", "name = 'eth1'"),
        ("[[rule]]", "eni" | "action") => ("", "dport = 9"),
        ("[[rule]]", "dport") => ("", "sport = 9\naction = 'prohibit'"),
        ("[[rule]]", _) => ("", "dport = 9\naction = 'prohibit'"),
        ("[balance]", "weights") => ("policy.primary = 'full'", ""),
        ("[balance]", _) => ("policy.primary = 'full'", "weights = { a = 1, b = 2 }"),
        _ => ("", ""),
    };
    let Sample {
        heading, key, file, ..
    } = sample;
    format!("{before}\n{heading}\n{key} = {file}\n{beside}\n")
}

/// The entry of the key in the table that the sample makes.
fn entry(policy: &Policy, sample: &Sample) -> Entry {
    let entry = entries(policy)
        .into_iter()
        .find(|entry| entry.section.heading() == sample.heading && entry.key == sample.key);
    entry.unwrap_or_else(|| panic!("{} {} is not listed", sample.heading, sample.key))
}

fn all_keys() -> Vec<(&'static str, &'static str)> {
    fn list<T>(heading: &'static str, keys: &[Key<T>]) -> Vec<(&'static str, &'static str)> {
        keys.iter().map(|key| (heading, key.name)).collect()
    }
    [
        list("[policy]", POLICY),
        list("[limits]", LIMITS),
        list("[[eni]]", ENI),
        list("[[rule]]", RULE),
        list("[balance]", BALANCE),
    ]
    .concat()
}

#[test]
fn every_key_has_a_sample_and_no_name_serves_twice() {
    let samples: Vec<_> = SAMPLES.iter().map(|s| (s.heading, s.key)).collect();
    assert_eq!(samples, all_keys());
    let distinct: BTreeSet<_> = all_keys().into_iter().collect();
    assert_eq!(distinct.len(), all_keys().len());
}

#[test]
fn every_key_of_a_file_is_set_shown_and_traced_to_its_line() {
    for sample in SAMPLES {
        let text = file(sample);
        let loaded = load(&text);
        let Entry {
            section,
            key,
            value,
        } = entry(&loaded.policy, sample);
        let shown = value.map(|value| value.to_string());
        assert_eq!(shown.as_deref(), Some(sample.shown), "{text}");
        assert_eq!(
            loaded.origins.of(&section, key).to_string(),
            "config.toml:3",
            "{text}"
        );
        // What is shown reads back as the same value.
        let again = text.replace(sample.file, sample.shown);
        assert_eq!(load(&again).policy, loaded.policy, "{again}");
        // The key changes nothing but its own value.
        let others = |policy: &Policy| -> Vec<Entry> {
            let entries = entries(policy).into_iter();
            entries
                .filter(|entry| (&entry.section, entry.key) != (&section, key))
                .collect()
        };
        let without = text.replace(&format!("{} = {}\n", sample.key, sample.file), "\n");
        let alone = matches!(
            (sample.heading, sample.key),
            ("[[eni]]", "name" | "mac") | ("[[rule]]", "eni" | "action")
        );
        if !alone {
            assert_eq!(
                others(&load(&without).policy),
                others(&loaded.policy),
                "{text}"
            );
        }
    }
}

#[test]
fn no_sample_is_a_default() {
    let unset = Policy {
        enis: vec![EniPolicy::new(Selector::from("eth9"))],
        access: vec![AccessRule::new(AccessAction::Prohibit)],
        ..Policy::default()
    };
    for sample in SAMPLES {
        let default = entry(&unset, sample).value.map(|value| value.to_string());
        assert_ne!(
            default.as_deref(),
            Some(sample.shown),
            "{} {}",
            sample.heading,
            sample.key
        );
    }
}

#[test]
fn a_flag_gives_the_same_policy_as_its_key_in_a_file() {
    let mut used = BTreeSet::new();
    for sample in SAMPLES {
        let Some((name, values)) = sample.flag else {
            continue;
        };
        used.insert(name);
        let flag = FLAGS.iter().find(|flag| flag.name() == name);
        let flag = flag.unwrap_or_else(|| panic!("there is no --{name}"));
        let read = |value: &&str| flag.read(value).unwrap_or_else(|error| panic!("{error}"));
        let settings: Vec<_> = values.iter().map(read).collect();
        // An ENI that the file names without the key under test.
        let before = match (sample.heading, sample.key) {
            ("[[eni]]", "name") | ("[policy]", _) => Policy::default(),
            _ => load("[[eni]]\nname = 'eth1'").policy,
        };
        let mut after = before.clone();
        flags::put_into(&settings, &mut after).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(after, load(&file(sample)).policy, "--{name} {values:?}");
        let mut origins = Origins::default();
        origins.set_changes(&before, &after, &Origin::Flag);
        let Entry { section, key, .. } = entry(&after, sample);
        assert_eq!(origins.of(&section, key), Origin::Flag, "--{name}");
        // To give the flag again changes nothing.
        let once = after.clone();
        flags::put_into(&settings, &mut after).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(after, once, "--{name} {values:?}");
    }
    let all: BTreeSet<_> = FLAGS.iter().map(|flag| flag.name()).collect();
    assert_eq!(used, all, "each flag has a sample");
    let with_flag = SAMPLES
        .iter()
        .filter(|sample| sample.flag.is_some())
        .count();
    let keys = flagged(POLICY) + flagged(LIMITS) + flagged(ENI) + flagged(RULE) + flagged(BALANCE);
    // `--gateway` is the flag of `gateway`, and sets `gateway6` as well.
    assert_eq!(with_flag, keys + 1);
}

fn flagged<T>(keys: &[Key<T>]) -> usize {
    keys.iter().filter(|key| key.flag.is_some()).count()
}

#[test]
fn each_default_that_is_shown_is_that_of_the_policy() {
    let Policy {
        enis,
        discover,
        table_base,
        ownership,
        primary,
        mirror,
        rules,
        programs,
        sysctls,
        attach,
        mode,
        exempt,
        access,
        balance,
        restore_default_rules,
        settings,
        sizes,
        ..
    } = Policy::default();
    assert_eq!((enis.len(), access.len(), balance), (0, 0, None));
    let shown = |key: &str| {
        let shown = entries(&Policy::default());
        let of_key = shown.into_iter().find(|entry| entry.key == key);
        let value = of_key.unwrap_or_else(|| panic!("no {key}")).value;
        value.map(|value| value.to_string().trim_matches('"').to_owned())
    };
    // What the word or number stands for is the field's value.
    assert_eq!(MODES.read(&shown("mode").expect("set")), Ok(mode));
    assert_eq!(
        DISCOVERIES.read(&shown("discover").expect("set")),
        Ok(discover)
    );
    assert_eq!(PRIMARIES.read(&shown("primary").expect("set")), Ok(primary));
    assert_eq!(MIRRORS.read(&shown("mirror").expect("set")), Ok(mirror));
    assert_eq!(ATTACHMENTS.read(&shown("attach").expect("set")), Ok(attach));
    fn text(value: impl Debug) -> Option<String> {
        Some(format!("{value:?}"))
    }
    assert_eq!(shown("rules"), text(rules));
    assert_eq!(shown("programs"), text(programs));
    assert_eq!(shown("sysctls"), text(sysctls));
    assert_eq!(shown("table-base"), text(table_base.0));
    let band = Some(format!("{}-{}", ownership.first, ownership.last));
    assert_eq!(shown("priorities"), band);
    assert_eq!(shown("protocol"), text(ownership.protocol.0));
    assert_eq!(shown("group"), text(ownership.group.0));
    assert_eq!(shown("exempt"), text(exempt));
    assert_eq!((shown("exempt-mark"), settings.exempt_mark), (None, None));
    assert_eq!(shown("source-length4"), text(settings.source_length4));
    assert_eq!(shown("source-length6"), text(settings.source_length6));
    assert_eq!(shown("events-per-second"), text(settings.events_per_second));
    assert_eq!(shown("restore-default-rules"), text(restore_default_rules));
    assert_eq!(shown("addresses"), text(sizes.addresses));
    let sources = shown("sources").expect("set");
    assert_eq!(value::size(&sources), Ok(sizes.sources_bytes));
    assert_eq!((shown("weights"), shown("table")), (None, None));
}

/// The other values of keys that accept words, and the limits of numbers.
#[test]
fn every_word_and_every_limit_reads_back_as_it_was() {
    for (heading, key, values) in [
        ("[policy]", "mode", &["'count'", "'steer'", "'drop'"][..]),
        ("[policy]", "discover", &["'if-none-named'", "'always'"]),
        ("[policy]", "primary", &["'auto'", "'observe'", "'full'"]),
        ("[policy]", "mirror", &["'needed'", "'exact'"]),
        ("[policy]", "attach", &["'auto'", "'tcx'", "'clsact'"]),
        ("[policy]", "source-length4", &["0", "32"]),
        ("[policy]", "source-length6", &["0", "128"]),
        ("[limits]", "addresses", &["1", "1048576"]),
        (
            "[[eni]]",
            "gateway",
            &["'auto'", "'first'", "'last'", "'10.0.0.1'"],
        ),
        ("[[eni]]", "gateway6", &["'auto'", "'fe80::1'"]),
        (
            "[[rule]]",
            "action",
            &["'prohibit'", "'unreachable'", "'blackhole'"],
        ),
    ] {
        for value in values {
            let mut sample = sample(heading, key, value, "");
            sample.file = value;
            let shown = entry(&load(&file(&sample)).policy, &sample).value;
            let shown = shown.map(|value| value.to_string().replace('"', "'"));
            assert_eq!(shown.as_deref(), Some(*value), "{key}");
        }
    }
}

#[test]
fn the_reference_lists_every_word_that_a_key_accepts() {
    let accepts = |key: &str| {
        let found = POLICY.iter().find(|other| other.name == key);
        found
            .unwrap_or_else(|| panic!("no {key}"))
            .accepts
            .describe()
    };
    assert_eq!(accepts("mode"), "`\"count\"`, `\"steer\"` or `\"drop\"`");
    assert_eq!(
        accepts("primary"),
        "`\"auto\"`, `\"observe\"` or `\"full\"`"
    );
    assert_eq!(accepts("rules"), "`true` or `false`");
    assert_eq!(accepts("group"), "a whole number");
}

#[test]
fn a_mac_address_in_name_is_refused_with_the_key_that_takes_it() {
    let mut eni = EniPolicy::new(Selector::from("eth1"));
    let mac = Input::Flag("02:00:5E:00:53:01");
    let name = &ENI[0];
    let mistake = (name.set)(&mut eni, mac).expect_err("a MAC address");
    assert_eq!(mistake.what, "02:00:5e:00:53:01 is a MAC address");
    assert_eq!(
        mistake.hint.as_deref(),
        Some("write mac = \"02:00:5e:00:53:01\"")
    );
    let mistake = (name.set)(&mut eni, Input::Flag("a:b")).expect_err("no name");
    assert_eq!(mistake.what, "an interface can not have the name 'a:b'");
    assert_eq!(mistake.hint, None);
    assert_eq!(eni.select, Selector::from("eth1"));
}

#[test]
fn names_of_interfaces_are_as_long_as_the_kernel_allows() {
    let mut rule = AccessRule::new(AccessAction::Prohibit);
    let iif = RULE.iter().find(|key| key.name == "iif").expect("a key");
    let mut set = |length: usize| (iif.set)(&mut rule, Input::Flag(&"a".repeat(length))).is_ok();
    assert_eq!([set(15), set(16)], [true, false]);
    let mut eni = EniPolicy::new(Selector::from("eth1"));
    let mut set = |length: usize| (ENI[0].set)(&mut eni, Input::Flag(&"a".repeat(length))).is_ok();
    assert_eq!([set(127), set(128)], [true, false]);
}

#[test]
fn a_later_balance_without_weights_ends_the_balance_and_keeps_no_table() {
    let text = "policy.primary = 'full'\n[balance]\nweights = { a = 1, b = 2 }\ntable = 5000";
    let set = |policy: &mut Policy, weights: &str| {
        let text = format!("weights = {weights}");
        let toml = toml::de::DeTable::parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let value = toml.get_ref().get("weights").expect("weights");
        (BALANCE[0].set)(policy, Input::File(value)).map_err(|mistake| mistake.what)
    };
    let mut policy = load(text).policy;
    assert_eq!(set(&mut policy, "{ a = 5, b = 5 }"), Ok(()));
    let table = policy.balance.as_ref().and_then(|balance| balance.table);
    assert_eq!(table, Some(TableId(5000)), "other weights keep the table");
    assert_eq!(set(&mut policy, "{}"), Ok(()));
    assert_eq!(policy.balance, None);
    let twice = "{ '02:00:5e:00:53:aa' = 1, '02:00:5E:00:53:AA' = 2 }";
    assert_eq!(
        set(&mut policy, twice),
        Err("02:00:5e:00:53:aa has two weights".to_owned())
    );
}

#[test]
fn origins_of_keys_are_separate_for_each_eni_and_rule() {
    let loaded = load(
        "[[eni]]\nname = 'a'\ntable = 7\n[[eni]]\nname = 'b'\nmode = 'drop'\n\
         [[rule]]\nuid = 1\naction = 'prohibit'\n[[rule]]\nuid = 2\neni = 'a'",
    );
    let of = |section, key| loaded.origins.of(&section, key).to_string();
    let eni = |name: &str| Section::Eni(Selector::from(name));
    assert_eq!(of(eni("a"), "table"), "config.toml:3");
    assert_eq!(of(eni("b"), "table"), "default");
    assert_eq!(of(eni("b"), "mode"), "config.toml:6");
    assert_eq!(of(Section::Rule(0), "action"), "config.toml:9");
    assert_eq!(of(Section::Rule(1), "uid"), "config.toml:11");
    assert_eq!(of(Section::Rule(1), "action"), "default");
}
