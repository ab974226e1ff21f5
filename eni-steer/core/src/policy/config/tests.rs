use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::{
    model::{AttachKind, Family, Mode, TableId},
    policy::{AccessAction, Discover, GatewayChoice, PrimaryPolicy, Selector, entries},
};

fn files(texts: &[&str]) -> Vec<SourceFile> {
    let file = |(n, text): (usize, &&str)| SourceFile {
        path: PathBuf::from(format!("{n}.toml")),
        text: (*text).to_owned(),
    };
    texts.iter().enumerate().map(file).collect()
}

fn read(texts: &[&str]) -> LoadedConfig {
    LoadedConfig::from_files(&files(texts)).unwrap_or_else(|error| panic!("{error}"))
}

/// `line:column` of the mistake, and the mistake.
fn mistake(text: &str) -> (String, ConfigError) {
    let error = LoadedConfig::from_files(&files(&[text])).expect_err(text);
    (format!("{}:{}", error.line, error.column), error)
}

#[track_caller]
fn refused(text: &str, place: &str, what: &str) {
    let (at, error) = mistake(text);
    assert_eq!(at, place, "{text}\n{error}");
    assert!(error.to_string().contains(what), "{error}");
    assert!(!error.to_string().contains('\n'), "{error}");
    assert!(!error.hint.is_empty(), "{error}");
}

#[test]
fn an_empty_configuration_is_the_default_policy() {
    assert_eq!(read(&[]), LoadedConfig::default());
    assert_eq!(
        read(&["", "# nothing\n[policy]\n"]),
        LoadedConfig::default()
    );
}

#[test]
fn every_key_reaches_the_policy() {
    let Policy {
        enis,
        access,
        balance,
        ownership,
        settings,
        sizes,
        ..
    } = read(&[r#"
        [policy]
        primary = "full"
        priorities = "21000-21999"
        protocol = 230
        exempt-mark = "0x80000/0xff0000"
        [limits]
        sources = "64MiB"
        [[eni]]
        name = "eth1"
        table = 1001
        gateway = "last"
        gateway6 = "fe80::1"
        addresses = ["172.16.20.177"]
        prefixes = ["10.1.0.0/28", "2001:db8:1::/80"]
        mode = "steer"
        default-metric = 200
        [[eni]]
        mac = "02:00:5e:00:53:AA"
        managed = false
        [[rule]]
        to = "10.9.0.0/16"
        proto = "tcp"
        dport = "8000-8080"
        uid = 1000
        eni = "eth1"
        [[rule]]
        from = "172.17.0.0/16"
        mark = 7
        iif = "docker0"
        sport = 53
        action = "prohibit"
        [balance]
        weights = { eth1 = 3, eth0 = 1 }
        table = 5000
        [[eni]]
        name = "eth0"
    "#])
    .policy;
    let eth1 = &enis[0];
    assert_eq!(eth1.select, Selector::Name("eth1".to_owned()));
    assert_eq!(eth1.table, Some(TableId(1001)));
    let address = GatewayChoice::Address("fe80::1".parse().expect("an address"));
    assert_eq!(eth1.gateways, [GatewayChoice::Last, address]);
    assert_eq!(
        [eth1.gateways[0].family(), eth1.gateways[1].family()],
        [Family::V4, Family::V6]
    );
    assert_eq!((eth1.addresses.len(), eth1.prefixes.len()), (1, 2));
    assert_eq!(
        (eth1.mode, eth1.default_metric),
        (Some(Mode::Steer), Some(200))
    );
    assert!(!enis[1].managed);
    assert_eq!(
        access[0].then,
        AccessAction::Eni(Selector::Name("eth1".to_owned()))
    );
    assert_eq!(
        access[0].dport.map(|ports| (ports.start, ports.end)),
        Some((8000, 8080))
    );
    assert_eq!(access[1].then, AccessAction::Prohibit);
    assert_eq!(access[1].mark, Some((7, u32::MAX)));
    let balance = balance.expect("it is there");
    assert_eq!(
        (balance.weights.len(), balance.table),
        (2, Some(TableId(5000)))
    );
    assert_eq!((ownership.first.0, ownership.protocol.0), (21000, 230));
    assert_eq!(settings.exempt_mark, Some((0x80000, 0xff0000)));
    assert_eq!(sizes.sources_bytes, 64 << 20);
}

#[test]
fn a_later_file_overrides_key_by_key_and_enis_merge_by_selector() {
    let loaded = read(&[
        "[policy]\nmode = 'count'\nattach = 'tcx'\n[[eni]]\nname = 'eth1'\ntable = 1001\ngateway = 'first'\n\
         [[rule]]\nuid = 1\naction = 'prohibit'",
        "[policy]\nmode = 'steer'\n[[eni]]\nname = 'eth1'\nmode = 'drop'\ngateway = 'auto'\n[[eni]]\nname='eth2'\n\
         [[rule]]\nuid = 2\naction = 'blackhole'",
    ]);
    let policy = &loaded.policy;
    assert_eq!(
        (policy.mode, policy.attach),
        (Mode::Steer, Some(AttachKind::Tcx))
    );
    assert_eq!(policy.enis.len(), 2);
    assert_eq!(policy.enis[0].table, Some(TableId(1001)));
    assert_eq!(policy.enis[0].mode, Some(Mode::Drop));
    assert_eq!(policy.enis[0].gateways, []);
    assert_eq!(policy.access.len(), 2);
    let origin = |section: Section, key| loaded.origins.of(&section, key).to_string();
    assert_eq!(origin(Section::Policy, "mode"), "1.toml:2");
    assert_eq!(origin(Section::Policy, "attach"), "0.toml:3");
    assert_eq!(origin(Section::Policy, "primary"), "default");
    let eth1 = || Section::Eni(Selector::Name("eth1".to_owned()));
    assert_eq!(origin(eth1(), "table"), "0.toml:6");
    assert_eq!(origin(eth1(), "gateway"), "1.toml:6");
    assert_eq!(origin(Section::Rule(1), "uid"), "1.toml:10");
}

#[test]
fn an_unknown_key_is_refused_at_its_place_and_the_hint_names_the_nearest_one() {
    refused(
        "[policy]\n  tabel-base = 3",
        "2:3",
        "unknown key 'tabel-base'",
    );
    let (_, error) = mistake("[[eni]]\nname = 'eth1'\ntabel = 3");
    assert!(error.hint.contains("'table'"), "{}", error.hint);
    refused("[polcy]", "1:2", "unknown key 'polcy'");
    let (_, error) = mistake("[balance]\nfairness = 1");
    assert!(error.hint.contains("weights, table"), "{}", error.hint);
}

#[test]
fn text_that_is_not_toml_is_refused_at_its_place() {
    refused("[policy\n", "1:8", "unclosed");
    refused(
        "[policy]\nmode = 'count'\nmode = 'steer'",
        "3:1",
        "duplicate key",
    );
    refused(
        "[policy]\nrules = 'yes'",
        "2:9",
        "rules: expected true or false, found a string",
    );
    refused(
        "[policy]\ngroup = -1",
        "2:9",
        "expected a whole number from 0 to 4294967295, found -1",
    );
    refused(
        "[eni]\nname = 'eth1'",
        "1:1",
        "eni: expected a list of tables, found a table",
    );
    // A column counts characters, not bytes.
    refused("[limits]\nsources = [\"\u{e9}\u{e9}\", x]", "2:18", "");
}

#[test]
fn an_eni_is_named_once_and_by_one_key() {
    refused(
        "[[eni]]\nname = 'eth1'\n\n[[eni]]\nname = 'eth1'",
        "5:8",
        "this file has an [[eni]] for eth1 already",
    );
    refused(
        "[[eni]]\nmac = '02:00:5e:00:53:aa'\n[[eni]]\nmac = '02:00:5E:00:53:AA'",
        "4:7",
        "already",
    );
    refused("[[eni]]\ntable = 7", "1:1", "does not say which ENI it is");
    refused(
        "[[eni]]\nname = 'e'\nmac = '02:00:5e:00:53:aa'",
        "2:8",
        "this [[eni]] has name and mac",
    );
    refused(
        "[[eni]]\nname = '02:00:5e:00:53:aa'",
        "2:8",
        "is a MAC address",
    );
    refused(
        "[[eni]]\nname = 'eth/1'",
        "2:8",
        "an interface can not have the name 'eth/1'",
    );
    refused("[[eni]]\nmac = '02:00'", "2:7", "not a MAC address");
}

#[test]
fn a_bad_address_is_refused_at_the_very_word() {
    let eni = "[[eni]]\nname = 'eth1'\n";
    refused(
        &format!("{eni}addresses = ['10.0.0.1', '10.0.0']"),
        "3:26",
        "not an IP address",
    );
    refused(
        &format!("{eni}addresses = ['10.0.0.1', '10.0.0.1']"),
        "3:26",
        "10.0.0.1 is in the list twice",
    );
    refused(
        &format!("{eni}addresses = ['127.0.0.1']"),
        "3:14",
        "loopback",
    );
    refused(
        &format!("{eni}prefixes = ['10.0.0.1/24']"),
        "3:13",
        "the prefix is 10.0.0.0/24",
    );
    refused(
        &format!("{eni}gateway = 'fe80::1'"),
        "3:11",
        "not an IPv4 address",
    );
    refused(
        &format!("{eni}gateway6 = 'first'"),
        "3:12",
        "not an IPv6 address",
    );
    refused(
        &format!("{eni}gateway = '0.0.0.0'"),
        "3:11",
        "can not be a gateway",
    );
    refused(
        "[policy]\nexempt = ['10.0.0.0/33']",
        "2:11",
        "neither an address nor a prefix",
    );
}

#[test]
fn a_number_that_serves_two_purposes_is_refused() {
    let two = |key: &str| format!("[[eni]]\nname = 'a'\n{key}\n[[eni]]\nname = 'b'\n{key}");
    refused(&two("table = 1001"), "6:9", "table: both a and b have 1001");
    refused(
        &two("default-metric = 200"),
        "6:18",
        "default-metric: both a and b have 200",
    );
    refused(
        &two("addresses = ['10.0.0.1']"),
        "6:13",
        "addresses: both a and b have 10.0.0.1",
    );
    refused(
        &two("prefixes = ['10.0.0.0/28']"),
        "6:12",
        "prefixes: both a and b have 10.0.0.0/28",
    );
    refused(
        "[[eni]]\nname = 'a'\ntable = 254",
        "3:9",
        "a can not use the kernel's own table 254",
    );
    refused(
        "[policy]\ntable-base = 200",
        "2:14",
        "overlap the kernel's own tables",
    );
    refused(
        "[policy]\ntable-base = 4294967295",
        "2:14",
        "overlap the kernel's own tables",
    );
    refused(
        "[policy]\npriorities = '20000-20100'",
        "2:14",
        "20000-20100 has no room",
    );
    refused(
        "[policy]\npriorities = '0-4294967295'",
        "2:14",
        "overlaps the priorities of the kernel's own rules",
    );
    refused(
        "[policy]\npriorities = '32000-33000'",
        "2:14",
        "overlaps the priorities of the kernel's own rules",
    );
    refused(
        "[policy]\npriorities = '900-100'",
        "2:14",
        "900-100 ends before it starts",
    );
    refused(
        "[policy]\nprotocol = 16",
        "2:12",
        "uses protocol 16 already",
    );
    refused("[policy]\ngroup = 0", "2:9", "group 0");
    refused(
        "[policy]\nsource-length4 = 33",
        "2:18",
        "a prefix length is from 0 to 32, not 33",
    );
    refused(
        "[limits]\naddresses = 0",
        "2:13",
        "0 is not from 1 to 1048576",
    );
}

#[test]
fn the_band_holds_at_least_901_priorities_between_local_and_main() {
    for (first, last, fits) in [
        (20000, 20899, false),
        (20000, 20900, true),
        (0, 901, false),
        (1, 901, true),
        (31865, 32765, true),
        (31866, 32766, false),
    ] {
        let text = format!("[policy]\npriorities = '{first}-{last}'");
        let loaded = LoadedConfig::from_files(&files(&[&text]));
        assert_eq!(loaded.is_ok(), fits, "{first}-{last}");
    }
}

#[test]
fn the_tables_come_after_those_of_the_kernel() {
    let fits = |base: u32| {
        let text = format!("[policy]\ntable-base = {base}");
        LoadedConfig::from_files(&files(&[&text])).is_ok()
    };
    assert_eq!([fits(255), fits(256)], [false, true]);
    let most = u32::MAX - crate::ownership::TABLES;
    assert_eq!([fits(most), fits(most + 1)], [true, false]);
}

#[test]
fn two_enis_may_have_the_same_table_if_one_is_not_managed() {
    read(&["[[eni]]\nname = 'a'\ntable = 7\nmanaged = false\n[[eni]]\nname = 'b'\ntable = 7"]);
}

#[test]
fn a_rule_says_what_it_matches_and_what_happens() {
    refused(
        "[[rule]]\naction = 'prohibit'",
        "1:1",
        "matches every packet",
    );
    refused("[[rule]]\nuid = 1", "1:1", "either an eni or an action");
    refused(
        "[[rule]]\nuid = 1\neni = 'a'\naction = 'prohibit'",
        "1:1",
        "either",
    );
    refused(
        "[[rule]]\nuid = 1\naction = 'deny'",
        "3:10",
        "'deny' is not prohibit, unreachable or blackhole",
    );
    refused(
        "[[rule]]\nto = '0.0.0.0/0'\naction = 'prohibit'",
        "2:6",
        "covers all addresses; omit the key",
    );
    let mixed = "[[rule]]\nfrom = '10.0.0.1'\nto = 'fd00::1'\naction = 'prohibit'";
    refused(mixed, "1:1", "it mixes IPv4 and IPv6");
    let icmp = "[[rule]]\nto = 'fd00::1'\nproto = 'icmp'\naction = 'prohibit'";
    refused(icmp, "1:1", "it mixes IPv4 and IPv6");
    let ports = "[[rule]]\nproto = 'icmp'\ndport = 8\naction = 'prohibit'";
    refused(ports, "1:1", "has no ports");
    let nobody = "[[rule]]\niif = 'docker0'\nuid = 8\naction = 'prohibit'";
    refused(nobody, "1:1", "have no user");
    read(&["[[rule]]\niif = 'lo'\nuid = 8\nproto = 132\nsport = 8\naction = 'prohibit'"]);
    refused(
        "[[rule]]\ndport = '80-70'\naction = 'prohibit'",
        "2:9",
        "80-70 ends before it starts",
    );
    refused(
        "[[rule]]\ndport = 65535\naction = 'prohibit'",
        "2:9",
        "not a port that a rule can match",
    );
    refused(
        "[[rule]]\nmark = '1/0'\naction = 'prohibit'",
        "2:8",
        "mask of 0",
    );
    let unknown = "[[eni]]\nname = 'a'\n[[rule]]\nuid = 1\neni = 'b'";
    refused(unknown, "5:7", "b is not a managed ENI");
    read(&["[[rule]]\nuid = 1\neni = 'b'"]);
    let left = "[[eni]]\nname = 'b'\nmanaged = false\n[[rule]]\nuid = 1\neni = 'b'";
    refused(left, "6:7", "b is not a managed ENI");
}

#[test]
fn there_is_room_for_so_many_rules_and_no_more() {
    let many = |n| "[[rule]]\nuid = 1\naction = 'prohibit'\n".repeat(n);
    read(&[&many(289)]);
    refused(&many(290), "870:10", "more than 289 rules have an action");
    let lead = |n| "[[rule]]\nuid = 1\neni = 'a'\n".repeat(n);
    read(&[&(many(289) + &lead(289))]);
    refused(
        &(lead(290) + &many(1)),
        "870:7",
        "more than 289 rules have an eni",
    );
}

#[test]
fn balance_needs_source_rules_for_the_primary_and_two_enis() {
    let full = "[policy]\nprimary = 'full'\n[balance]\n";
    read(&[&format!("{full}weights = {{ a = 1, b = 256 }}")]);
    refused(
        "[balance]\nweights = { a = 1, b = 2 }",
        "2:11",
        "needs primary = \"full\"",
    );
    refused(
        &format!("{full}weights = {{ a = 1 }}"),
        "4:11",
        "a balance needs two ENIs or more",
    );
    refused(
        &format!("{full}weights = {{ a = 1, b = 0 }}"),
        "4:24",
        "1 to 256",
    );
    refused(
        &format!("{full}weights = {{ a = 1, b = 65793 }}"),
        "4:24",
        "1 to 256",
    );
    refused(
        &format!("{full}table = 7"),
        "4:9",
        "table: [balance] has a table, but no weights",
    );
}

#[test]
fn what_show_prints_for_each_key_is_what_was_configured() {
    let loaded = read(&["[policy]\nmode = 'steer'\ndiscover = 'always'\nprimary = 'full'"]);
    let policy = &loaded.policy;
    assert_eq!(policy.discover, Discover::Always);
    assert_eq!(policy.primary, PrimaryPolicy::Full);
    let entries = entries(policy);
    let value = |key| {
        entries
            .iter()
            .find(|e| e.key == key)
            .and_then(|e| e.value.clone())
    };
    assert_eq!(value("mode"), Some("steer".into()));
    assert_eq!(value("discover"), Some("always".into()));
}

/// Text that is nearly a configuration.
fn toml_ish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => proptest::sample::select(vec![
            "[policy]\n", "[limits]\n", "[[eni]]\n", "[[rule]]\n", "[balance]\n", "mode", "name",
            "mac", "table", "gateway", "addresses", "prefixes", "priorities", "protocol", "uid",
            "sport", "dport", "mark", "iif", "eni", "action", "weights", "sources", "exempt",
            "table-base", "group", "default-metric", "source-length6", " = ", " = ", " = ", "[",
            "]", "{", "}", ",", "\n", "\n", "\"", "'", "'eth1'", "'steer'", "'10.0.0.0/8'",
            "'::/0'", "'0-4294967295'", "-1", "4294967295", "99999999999999999999", "0x7", "1.5",
            "true", "'1-2'", "'prohibit'", "'0x1/0xff'", "['10.0.0.1']", "{ a = 1, b = 2 }",
            "1979-05-27", "\"\\u00e9\"", "#", ".",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_text_whatever_makes_the_reader_panic_and_each_mistake_has_its_place(
        one in toml_ish(), other in toml_ish(),
    ) {
        let texts = files(&[&one, &other]);
        if let Err(error) = LoadedConfig::from_files(&texts) {
            let file = texts.iter().find(|file| file.path == error.path);
            let file = file.expect("the mistake is in one of the files");
            prop_assert!(error.line >= 1 && error.line <= file.text.matches('\n').count() + 1);
            prop_assert!(!error.to_string().contains('\n'), "{}", error);
        }
    }
}
