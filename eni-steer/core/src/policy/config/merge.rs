//! One file over what the files before it said.

use std::{collections::BTreeMap, ops::Range};

use toml::Spanned;

use super::{
    ConfigError, Configured, Section, SourceFile,
    document::{
        BalanceSection, Document, EniSection, LimitsSection, PolicySection, RuleSection, Texts,
    },
};
use crate::{
    model::{AttachKind, Family, Group, Mac, TableId},
    policy::{
        AccessAction, AccessRule, Balance, Discover, EniPolicy, Policy, PrimaryPolicy, Selector,
        written,
    },
};

/// Longest alternative name (`ALTIFNAMSIZ` less the closing zero).
const ALTERNATIVE_NAME: usize = 127;
/// Longest name (`IFNAMSIZ` less the closing zero).
const NAME: usize = 15;
/// Greatest weight of a leg of a multipath route (`rtnh_hops` is a byte).
const WEIGHTS: std::ops::RangeInclusive<u32> = 1..=256;
/// Owned addresses and prefixes the programs' tables may be sized for.
const ADDRESSES: std::ops::RangeInclusive<u32> = 1..=1 << 20;

pub(super) fn merge(
    file: &SourceFile,
    document: Document,
    configured: &mut Configured,
) -> Result<(), ConfigError> {
    let mut over = Over { file, configured };
    over.policy(document.policy)?;
    over.limits(document.limits)?;
    over.enis(document.eni)?;
    for rule in document.rule {
        over.rule(rule)?;
    }
    over.balance(document.balance)
}

struct Over<'a> {
    file: &'a SourceFile,
    configured: &'a mut Configured,
}

/// Text of a value, whether it was written as text or as a number.
trait Written {
    fn text(&self) -> &str;
}

impl Written for String {
    fn text(&self) -> &str {
        self
    }
}

impl Written for super::document::Loose {
    fn text(&self) -> &str {
        &self.0
    }
}

impl Over<'_> {
    fn say(&mut self, section: &Section, key: &'static str, span: Range<usize>) {
        let origin = self.file.origin(&span);
        self.configured.origins.say(section.clone(), key, origin);
    }

    /// Puts a value in its place and writes down where it comes from.
    fn put<T>(
        &mut self,
        section: &Section,
        key: &'static str,
        value: Option<Spanned<T>>,
        to: impl FnOnce(&mut Policy, T),
    ) {
        if let Some(value) = value {
            self.say(section, key, value.span());
            to(&mut self.configured.policy, value.into_inner());
        }
    }

    /// Understands a word, then puts it in its place.
    fn read<W: Written, T>(
        &mut self,
        section: &Section,
        key: &'static str,
        word: Option<Spanned<W>>,
        parse: impl Fn(&str) -> Result<T, String>,
        to: impl FnOnce(&mut Policy, T),
    ) -> Result<(), ConfigError> {
        let value = self.understood(key, word, parse)?;
        self.put(section, key, value, to);
        Ok(())
    }

    fn understood<W: Written, T>(
        &self,
        key: &'static str,
        word: Option<Spanned<W>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Spanned<T>>, ConfigError> {
        let Some(word) = word else { return Ok(None) };
        let span = word.span();
        match parse(word.get_ref().text()) {
            Ok(value) => Ok(Some(Spanned::new(span, value))),
            Err(what) => Err(self.mistake(&span, key, &what)),
        }
    }

    fn mistake(&self, span: &Range<usize>, key: &str, what: &str) -> ConfigError {
        self.file.mistake(
            span,
            format!("{key}: {what}"),
            "docs/configuration.md describes every key",
        )
    }

    /// A list of words: each is understood by itself, and none may be there twice.
    fn list<T: PartialEq>(
        &self,
        key: &'static str,
        words: Texts,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Spanned<Vec<T>>>, ConfigError> {
        let Some(words) = words else { return Ok(None) };
        let span = words.span();
        let mut values = Vec::new();
        for word in words.into_inner() {
            let value = parse(word.get_ref()).map_err(|e| self.mistake(&word.span(), key, &e))?;
            if values.contains(&value) {
                let what = format!("{} is there twice", word.get_ref());
                return Err(self.mistake(&word.span(), key, &what));
            }
            values.push(value);
        }
        Ok(Some(Spanned::new(span, values)))
    }

    fn policy(&mut self, section: PolicySection) -> Result<(), ConfigError> {
        let at = &Section::Policy;
        self.read(at, "mode", section.mode, written::mode, |policy, mode| {
            policy.mode = mode;
        })?;
        let words = [
            ("if-none-named", Discover::IfNoneNamed),
            ("always", Discover::Always),
        ];
        self.read(at, "discover", section.discover, one_of(&words), |p, v| {
            p.discover = v;
        })?;
        let words = [
            ("observe", PrimaryPolicy::Observe),
            ("full", PrimaryPolicy::Full),
        ];
        self.read(at, "primary", section.primary, one_of(&words), |p, v| {
            p.primary = v;
        })?;
        self.put(at, "rules", section.rules, |policy, on| policy.rules = on);
        self.put(at, "programs", section.programs, |p, on| p.programs = on);
        self.put(at, "sysctls", section.sysctls, |p, on| p.sysctls = on);
        let words = [
            ("auto", None),
            ("tcx", Some(AttachKind::Tcx)),
            ("clsact", Some(AttachKind::Clsact)),
        ];
        self.read(at, "attach", section.attach, one_of(&words), |policy, v| {
            policy.attach = v;
        })?;
        self.put(at, "table-base", section.table_base, |policy, base| {
            policy.table_base = TableId(base);
        });
        let band = section.priorities;
        self.read(at, "priorities", band, written::band, |p, (first, last)| {
            p.ownership.first = first;
            p.ownership.last = last;
        })?;
        let protocol = section.protocol;
        self.read(at, "protocol", protocol, written::protocol, |p, number| {
            p.ownership.protocol = number;
        })?;
        self.put(at, "group", section.group, |policy, group| {
            policy.ownership.group = Group(group);
        });
        let exempt = self.list("exempt", section.exempt, written::prefix)?;
        self.put(at, "exempt", exempt, |policy, nets| policy.exempt = nets);
        let mark = section.exempt_mark;
        self.read(at, "exempt-mark", mark, written::mark, |policy, pair| {
            policy.settings.exempt_mark = Some(pair);
        })?;
        let length = self.at_most("source-length4", section.source_length4, 32)?;
        self.put(at, "source-length4", length, |policy, length| {
            policy.settings.source_length4 = length;
        });
        let length = self.at_most("source-length6", section.source_length6, 128)?;
        self.put(at, "source-length6", length, |policy, length| {
            policy.settings.source_length6 = length;
        });
        let rate = section.events_per_second;
        self.put(at, "events-per-second", rate, |policy, rate| {
            policy.settings.events_per_second = rate;
        });
        let restore = section.restore_default_rules;
        self.put(at, "restore-default-rules", restore, |policy, on| {
            policy.restore_default_rules = on;
        });
        Ok(())
    }

    fn at_most(
        &self,
        key: &'static str,
        value: Option<Spanned<u32>>,
        most: u8,
    ) -> Result<Option<Spanned<u8>>, ConfigError> {
        let Some(value) = value else { return Ok(None) };
        let span = value.span();
        match u8::try_from(value.into_inner()) {
            Ok(small) if small <= most => Ok(Some(Spanned::new(span, small))),
            _ => Err(self.mistake(&span, key, &format!("a prefix has 0 to {most} bits"))),
        }
    }

    fn limits(&mut self, section: LimitsSection) -> Result<(), ConfigError> {
        let at = &Section::Limits;
        if let Some(addresses) = &section.addresses
            && !ADDRESSES.contains(addresses.get_ref())
        {
            let what = format!("from {} to {}", ADDRESSES.start(), ADDRESSES.end());
            return Err(self.mistake(&addresses.span(), "addresses", &what));
        }
        self.put(at, "addresses", section.addresses, |policy, addresses| {
            policy.sizes.addresses = addresses;
        });
        self.read(at, "sources", section.sources, written::size, |p, bytes| {
            p.sizes.sources_bytes = bytes;
        })
    }

    fn enis(&mut self, sections: Vec<Spanned<EniSection>>) -> Result<(), ConfigError> {
        let mut met: BTreeMap<Selector, Range<usize>> = BTreeMap::new();
        for section in sections {
            let header = section.span();
            let (select, key, span) = self.selector(&header, section.get_ref())?;
            if let Some(first) = met.insert(select.clone(), span.clone()) {
                let what = format!("{select} has an [[eni]] in this file already");
                let first = self.file.origin(&first);
                let hint = format!("put all its keys into the one at {first}");
                return Err(self.file.mistake(&span, what, hint));
            }
            self.eni(&select, (key, span), section.into_inner())?;
        }
        Ok(())
    }

    /// Which ENI a table speaks of, by which key, and where that stands.
    fn selector(
        &self,
        header: &Range<usize>,
        section: &EniSection,
    ) -> Result<(Selector, &'static str, Range<usize>), ConfigError> {
        let which = "name = \"eth1\" (a name or alternative name) or mac = \"02:00:5e:00:53:01\"";
        match (&section.name, &section.mac) {
            (Some(name), None) => {
                let text = name.get_ref();
                let span = name.span();
                if text.parse::<Mac>().is_ok() {
                    let what = format!("name: {text} is a MAC address");
                    return Err(self.file.mistake(&span, what, format!("mac = \"{text}\"")));
                }
                let text = written::interface(text, ALTERNATIVE_NAME)
                    .map_err(|what| self.mistake(&span, "name", &what))?;
                Ok((Selector::Name(text), "name", span))
            }
            (None, Some(mac)) => {
                let span = mac.span();
                let mac = mac
                    .get_ref()
                    .parse()
                    .map_err(|what: String| self.mistake(&span, "mac", &what))?;
                Ok((Selector::Mac(mac), "mac", span))
            }
            (Some(name), Some(_)) => Err(self.file.mistake(
                &name.span(),
                format!("{} is selected by name and by MAC address", name.get_ref()),
                "one of the two says which ENI it is; leave the other one out",
            )),
            (None, None) => {
                Err(self
                    .file
                    .mistake(header, "this [[eni]] does not say which ENI it is", which))
            }
        }
    }

    fn eni(
        &mut self,
        select: &Selector,
        (key, place): (&'static str, Range<usize>),
        section: EniSection,
    ) -> Result<(), ConfigError> {
        let enis = &mut self.configured.policy.enis;
        let index = enis.iter().position(|eni| eni.select == *select);
        let index = index.unwrap_or_else(|| {
            enis.push(EniPolicy::new(select.clone()));
            enis.len() - 1
        });
        let at = &Section::Eni(select.clone());
        self.say(at, key, place);
        self.put(at, "managed", section.managed, |policy, managed| {
            policy.enis[index].managed = managed;
        });
        self.put(at, "table", section.table, |policy, table| {
            policy.enis[index].table = Some(TableId(table));
        });
        for (key, word, family) in [
            ("gateway", section.gateway, Family::V4),
            ("gateway6", section.gateway6, Family::V6),
        ] {
            let parse = |text: &str| written::gateway(text, family);
            self.read(at, key, word, parse, |policy, choice| {
                let gateways = &mut policy.enis[index].gateways;
                gateways.retain(|other| other.family() != family);
                gateways.extend(choice);
            })?;
        }
        let addresses = self.list("addresses", section.addresses, written::owned_address)?;
        self.put(at, "addresses", addresses, |policy, addresses| {
            policy.enis[index].addresses = addresses;
        });
        let prefixes = self.list("prefixes", section.prefixes, written::owned_prefix)?;
        self.put(at, "prefixes", prefixes, |policy, prefixes| {
            policy.enis[index].prefixes = prefixes;
        });
        self.read(at, "mode", section.mode, written::mode, |policy, mode| {
            policy.enis[index].mode = Some(mode);
        })?;
        self.put(at, "default-metric", section.default_metric, |p, metric| {
            p.enis[index].default_metric = Some(metric);
        });
        Ok(())
    }

    fn rule(&mut self, section: Spanned<RuleSection>) -> Result<(), ConfigError> {
        let header = section.span();
        let section = section.into_inner();
        let n = self.configured.policy.access.len();
        let at = &Section::Rule(n);
        let then = match (section.eni, section.action) {
            (Some(eni), None) => {
                self.say(at, "eni", eni.span());
                AccessAction::Eni(Selector::from(eni.get_ref().as_str()))
            }
            (None, Some(action)) => {
                let words = [
                    ("prohibit", AccessAction::Prohibit),
                    ("unreachable", AccessAction::Unreachable),
                    ("blackhole", AccessAction::Blackhole),
                ];
                self.say(at, "action", action.span());
                one_of(&words)(action.get_ref())
                    .map_err(|what| self.mistake(&action.span(), "action", &what))?
            }
            (None, None) | (Some(_), Some(_)) => {
                return Err(self.file.mistake(
                    &header,
                    "a [[rule]] has either an eni or an action",
                    "eni = \"eth1\", or action = \"prohibit\", \"unreachable\" or \"blackhole\"",
                ));
            }
        };
        self.configured.policy.access.push(AccessRule::new(then));
        self.read(at, "from", section.from, rule_net, |policy, net| {
            policy.access[n].from = Some(net);
        })?;
        self.read(at, "to", section.to, rule_net, |policy, net| {
            policy.access[n].to = Some(net);
        })?;
        self.read(at, "proto", section.proto, written::ip_protocol, |p, v| {
            p.access[n].ip_protocol = Some(v);
        })?;
        self.read(at, "sport", section.sport, written::ports, |policy, v| {
            policy.access[n].sport = Some(v);
        })?;
        self.read(at, "dport", section.dport, written::ports, |policy, v| {
            policy.access[n].dport = Some(v);
        })?;
        self.read(at, "uid", section.uid, written::uids, |policy, v| {
            policy.access[n].uids = Some(v);
        })?;
        self.read(at, "mark", section.mark, written::mark, |policy, v| {
            policy.access[n].mark = Some(v);
        })?;
        let name = |text: &str| written::interface(text, NAME);
        self.read(at, "iif", section.iif, name, |policy, iif| {
            policy.access[n].iif = Some(iif);
        })?;
        let rule = &self.configured.policy.access[n];
        if rule.matches_everything() {
            return Err(self.file.mistake(
                &header,
                "this [[rule]] matches all traffic there is",
                "say which: from, to, proto, sport, dport, uid, mark or iif",
            ));
        }
        match rule.contradiction() {
            None => Ok(()),
            Some((why, hint)) => Err(self.file.mistake(
                &header,
                format!("this [[rule]] matches nothing: {why}"),
                hint,
            )),
        }
    }

    fn balance(&mut self, section: BalanceSection) -> Result<(), ConfigError> {
        let at = &Section::Balance;
        if let Some(weights) = section.weights {
            let mut pairs: Vec<(Selector, u16)> = Vec::new();
            for (eni, weight) in weights.get_ref() {
                let select = Selector::from(eni.get_ref().as_str());
                if pairs.iter().any(|(other, _)| *other == select) {
                    let what = format!("{select} has two weights");
                    return Err(self.mistake(&eni.span(), "weights", &what));
                }
                let value = u16::try_from(*weight.get_ref()).unwrap_or(u16::MAX);
                if !WEIGHTS.contains(&u32::from(value)) {
                    let what = format!("the weight of {select} is from 1 to 256");
                    return Err(self.mistake(&weight.span(), "weights", &what));
                }
                pairs.push((select, value));
            }
            if pairs.len() == 1 {
                let what = "one ENI alone is no balance";
                return Err(self.mistake(&weights.span(), "weights", what));
            }
            self.say(at, "weights", weights.span());
            let balance = &mut self.configured.policy.balance;
            *balance = (!pairs.is_empty()).then(|| Balance {
                weights: pairs,
                table: balance.as_ref().and_then(|balance| balance.table),
            });
        }
        if let Some(table) = section.table {
            let Some(balance) = &mut self.configured.policy.balance else {
                let what = "a table without weights balances nothing";
                return Err(self.mistake(&table.span(), "table", what));
            };
            balance.table = Some(TableId(*table.get_ref()));
            self.say(at, "table", table.span());
        }
        Ok(())
    }
}

/// A selector of a rule: the prefix of all addresses selects nothing.
fn rule_net(text: &str) -> Result<ipnet::IpNet, String> {
    match written::prefix(text)? {
        net if net.prefix_len() == 0 => Err(format!("{net} is every address: leave it out")),
        net => Ok(net),
    }
}

/// Reads one of a few words.
fn one_of<T: Clone>(words: &[(&'static str, T)]) -> impl Fn(&str) -> Result<T, String> {
    move |text| {
        words
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| value.clone())
            .ok_or_else(|| {
                let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
                format!("'{text}' is none of {}", known.join(", "))
            })
    }
}
