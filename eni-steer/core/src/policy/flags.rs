//! The flags of the command line that change the policy, as the registry of keys lists them,
//! and what they do to a policy.
//!
//! There are four forms: `--eni ENI` names an ENI to manage, `--table ENI=TABLE` sets a key of
//! one ENI, `--group NUMBER` sets a key of the policy, and `--mode [ENI=]MODE` does either.

use std::sync::LazyLock;

use super::{
    Discover, EniPolicy, Policy, Selector,
    input::{Input, Mistake},
    keys,
    literal::Value,
    registry::{Accepts, Flag, Key},
};

/// All flags, in the order of the help.
pub static FLAGS: LazyLock<Vec<PolicyFlag>> = LazyLock::new(flags);

/// A flag.
pub struct PolicyFlag {
    flag: &'static Flag,
    /// What stands for its value in the help, with `ENI=` where the flag takes it.
    value_name: String,
    sets: Sets,
}

/// What a flag sets.
#[derive(Clone, Copy)]
enum Sets {
    /// Which ENIs eni-steer manages.
    Enis,
    /// A key of one ENI.
    Eni(&'static Key<EniPolicy>),
    /// A key of the policy.
    Policy(&'static Key<Policy>),
    /// A key of the policy, or the key of one ENI that overrides it.
    Either(&'static Key<Policy>, &'static Key<EniPolicy>),
}

fn flags() -> Vec<PolicyFlag> {
    let of_policy = || {
        [keys::POLICY, keys::LIMITS, keys::BALANCE]
            .into_iter()
            .flatten()
    };
    let new = |flag: &'static Flag, prefix: &str, sets| PolicyFlag {
        flag,
        value_name: format!("{prefix}{}", flag.value),
        sets,
    };
    let mut flags: Vec<PolicyFlag> = Vec::new();
    for key in keys::ENI {
        let Some(flag) = &key.flag else { continue };
        let same =
            of_policy().find(|other| other.flag.as_ref().is_some_and(|f| f.name == flag.name));
        flags.push(if keys::SELECTORS.contains(&key.name) {
            new(flag, "", Sets::Enis)
        } else if let Some(of_policy) = same {
            new(flag, "[ENI=]", Sets::Either(of_policy, key))
        } else {
            new(flag, "ENI=", Sets::Eni(key))
        });
    }
    for key in of_policy() {
        let Some(flag) = &key.flag else { continue };
        if flags.iter().all(|other| other.flag.name != flag.name) {
            flags.push(new(flag, "", Sets::Policy(key)));
        }
    }
    flags
}

impl PolicyFlag {
    /// Its name, without the dashes.
    pub fn name(&self) -> &'static str {
        self.flag.name
    }

    /// What stands for its value in the help.
    pub fn value_name(&self) -> &str {
        &self.value_name
    }

    /// Its line in the help.
    pub fn help(&self) -> String {
        let mut help = self.flag.help.to_owned();
        if let Sets::Policy(key) | Sets::Either(key, _) = self.sets
            && let Some(default) = (key.get)(&Policy::default())
            && default != Value::List(Vec::new())
        {
            help += &format!(" (default {})", flag_text(&default));
        }
        if self.flag.repeats {
            help += " (repeatable)";
        }
        help
    }

    /// Whether it may be given several times.
    pub fn repeats(&self) -> bool {
        self.flag.repeats
    }

    /// Its values, if it accepts only a few words.
    pub fn words(&self) -> Option<Vec<&'static str>> {
        match self.sets {
            Sets::Policy(key) => match key.accepts {
                Accepts::Switch => Some(vec!["on", "off"]),
                Accepts::Words(names) => Some(names()),
                Accepts::Form(_) => None,
            },
            Sets::Enis | Sets::Eni(_) | Sets::Either(..) => None,
        }
    }

    /// Reads its value; the error says what is wrong with it.
    pub fn read(&self, text: &str) -> Result<Setting, String> {
        let setting = self.setting(text)?;
        // Whether the ENI is managed is not known yet, so the value is tried on one that is.
        let mut policy = Policy::default();
        if let Target::Eni { eni, .. } = &setting.target {
            policy.enis.push(EniPolicy::new(eni.clone()));
        }
        setting.put_into(&mut policy).map_err(|error| error.what)?;
        Ok(setting)
    }

    fn setting(&self, text: &str) -> Result<Setting, String> {
        let of_one_eni = |key| match text.split_once('=') {
            Some((eni, value)) if !eni.is_empty() => Ok(Target::Eni {
                eni: Selector::from(eni),
                key,
                value: value.to_owned(),
            }),
            _ => Err(format!("'{text}' is not {}", self.value_name)),
        };
        let target = match self.sets {
            Sets::Enis => Target::Manage(Selector::from(text)),
            Sets::Eni(key) => of_one_eni(key)?,
            Sets::Either(_, key) if text.contains('=') => of_one_eni(key)?,
            Sets::Policy(key) | Sets::Either(key, _) => Target::Policy {
                key,
                value: text.to_owned(),
            },
        };
        Ok(Setting {
            flag: self.name(),
            target,
        })
    }
}

/// A value as a flag takes it.
fn flag_text(value: &Value) -> String {
    match value {
        Value::Switch(true) => "on".to_owned(),
        Value::Switch(false) => "off".to_owned(),
        Value::Text(text) => text.clone(),
        Value::Number(_) | Value::List(_) | Value::Table(_) => value.to_string(),
    }
}

/// One use of a flag.
#[derive(Clone)]
pub struct Setting {
    flag: &'static str,
    target: Target,
}

#[derive(Clone)]
enum Target {
    /// This ENI is managed.
    Manage(Selector),
    /// A key of the policy.
    Policy {
        key: &'static Key<Policy>,
        value: String,
    },
    /// A key of this ENI.
    Eni {
        eni: Selector,
        key: &'static Key<EniPolicy>,
        value: String,
    },
}

impl std::fmt::Debug for Setting {
    /// As it was typed.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.target {
            Target::Manage(eni) => write!(f, "--{} {eni}", self.flag),
            Target::Policy { value, .. } => write!(f, "--{} {value}", self.flag),
            Target::Eni { eni, value, .. } => write!(f, "--{} {eni}={value}", self.flag),
        }
    }
}

/// A flag that the policy does not accept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct FlagError {
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub hint: String,
}

/// Whether one of these flags names the ENIs to manage.
pub fn names_enis(settings: &[Setting]) -> bool {
    settings.iter().any(|setting| setting.manages().is_some())
}

/// Changes a policy as the flags say. `--eni` takes effect first, because flags with `ENI=` need
/// the ENIs that it names; all others take effect in their order.
pub fn put_into(settings: &[Setting], policy: &mut Policy) -> Result<(), FlagError> {
    let named = settings.iter().filter_map(Setting::manages);
    let earlier = policy.enis.clone();
    let enis: Vec<EniPolicy> = named
        .map(|select| {
            let known = earlier.iter().find(|eni| eni.select == *select).cloned();
            EniPolicy {
                managed: true,
                ..known.unwrap_or_else(|| EniPolicy::new(select.clone()))
            }
        })
        .collect();
    if !enis.is_empty() {
        policy.discover = Discover::IfNoneNamed;
        policy.enis = enis;
    }
    settings
        .iter()
        .try_for_each(|setting| setting.put_into(policy))
}

impl Setting {
    /// The ENI that it names, if it says which ENIs are managed.
    fn manages(&self) -> Option<&Selector> {
        match &self.target {
            Target::Manage(select) => Some(select),
            Target::Policy { .. } | Target::Eni { .. } => None,
        }
    }

    /// Sets its key. The ENIs to manage are known all together only, so [`put_into`] sets them.
    fn put_into(&self, policy: &mut Policy) -> Result<(), FlagError> {
        let refused = |mistake: Mistake| FlagError {
            what: mistake.what,
            hint: format!("'eni-steer help apply' describes --{}", self.flag),
        };
        match &self.target {
            Target::Manage(_) => Ok(()),
            Target::Policy { key, value } => (key.set)(policy, Input::Flag(value)).map_err(refused),
            Target::Eni { eni, key, value } => {
                let managed = |one: &&mut EniPolicy| one.managed && one.select == *eni;
                match policy.enis.iter_mut().find(managed) {
                    Some(eni) => (key.set)(eni, Input::Flag(value)).map_err(refused),
                    None => Err(self.unmanaged(eni, policy)),
                }
            }
        }
    }

    /// The flag sets a key of an ENI that the policy does not name. If the policy names no ENI,
    /// eni-steer looks for them; to add this one would exclude the others, so the author must
    /// name all.
    fn unmanaged(&self, eni: &Selector, policy: &Policy) -> FlagError {
        let managed = policy.enis.iter().filter(|eni| eni.managed);
        let managed: Vec<String> = managed.map(|eni| eni.select.to_string()).collect();
        FlagError {
            what: format!("`{self:?}`: {eni} is not a managed ENI"),
            hint: if managed.is_empty() {
                format!("name the ENIs first: --eni {eni} --eni ...")
            } else {
                format!(
                    "the managed ENIs are {}; add --eni {eni}",
                    managed.join(", ")
                )
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Mode, TableId};

    fn flag(name: &str) -> &'static PolicyFlag {
        let flag = FLAGS.iter().find(|flag| flag.name() == name);
        flag.unwrap_or_else(|| panic!("there is no --{name}"))
    }

    fn read(name: &str, text: &str) -> Result<Setting, String> {
        flag(name).read(text)
    }

    /// What the flags make of a policy.
    fn over(mut policy: Policy, flags: &[(&str, &str)]) -> Result<Policy, FlagError> {
        let settings: Vec<Setting> = flags
            .iter()
            .map(|(name, text)| read(name, text).unwrap_or_else(|error| panic!("{error}")))
            .collect();
        put_into(&settings, &mut policy)?;
        Ok(policy)
    }

    fn with_enis(names: &[&str]) -> Policy {
        let eni = |name: &&str| EniPolicy::new(Selector::from(*name));
        Policy {
            enis: names.iter().map(eni).collect(),
            ..Policy::default()
        }
    }

    #[test]
    fn the_flags_are_these_and_take_these_values() {
        let list: Vec<String> = FLAGS
            .iter()
            .map(|flag| {
                let more = if flag.repeats() { " ..." } else { "" };
                format!("--{} {}{more}", flag.name(), flag.value_name())
            })
            .collect();
        assert_eq!(
            list,
            [
                "--eni ENI ...",
                "--table ENI=TABLE ...",
                "--gateway ENI=ADDRESS ...",
                "--address ENI=ADDRESS ...",
                "--prefix ENI=PREFIX ...",
                "--mode [ENI=]MODE ...",
                "--primary auto|observe|full",
                "--rules on|off",
                "--programs on|off",
                "--sysctls on|off",
                "--attach KIND",
                "--table-base TABLE",
                "--band FIRST-LAST",
                "--protocol NUMBER",
                "--group NUMBER",
                "--exempt PREFIX ...",
                "--exempt-mark MARK[/MASK]",
            ]
        );
    }

    #[test]
    fn the_help_says_the_default_and_whether_a_flag_repeats() {
        assert_eq!(
            flag("group").help(),
            "Interface group of the ENIs (default 20229)"
        );
        assert_eq!(
            flag("rules").help(),
            "Install routing tables and rules (default on)"
        );
        assert!(flag("attach").help().ends_with("(default auto)"));
        assert!(
            flag("mode")
                .help()
                .ends_with("(default count) (repeatable)")
        );
        let exempt = "Never steer or drop packets to this destination (repeatable)";
        assert_eq!(flag("exempt").help(), exempt);
        assert_eq!(flag("table").help(), "Routing table of an ENI (repeatable)");
        assert_eq!(flag_text(&false.into()), "off");
    }

    #[test]
    fn a_flag_that_accepts_a_few_words_lists_them() {
        assert_eq!(flag("rules").words(), Some(vec!["on", "off"]));
        assert_eq!(flag("attach").words(), Some(vec!["auto", "tcx", "clsact"]));
        for form in ["group", "mode", "table", "eni"] {
            assert_eq!(flag(form).words(), None, "{form}");
        }
    }

    #[test]
    fn the_enis_that_flags_name_are_the_only_ones_and_keep_what_is_known_of_them() {
        let mut policy = with_enis(&["eth1", "eth2"]);
        policy.discover = Discover::Always;
        policy.enis[0].managed = false;
        policy.enis[0].table = Some(TableId(1001));
        let new = over(policy.clone(), &[("eni", "eth1"), ("eni", "eth3")]).expect("flags");
        assert_eq!(new.discover, Discover::IfNoneNamed);
        let mut eth1 = EniPolicy::new(Selector::from("eth1"));
        eth1.table = Some(TableId(1001));
        assert_eq!(new.enis, [eth1, EniPolicy::new(Selector::from("eth3"))]);
        // Other flags leave the ENIs as they are.
        let new = over(policy.clone(), &[("rules", "off")]).expect("flags");
        assert_eq!((new.enis, new.discover), (policy.enis, policy.discover));
    }

    #[test]
    fn flags_know_whether_they_name_enis() {
        let settings = |flags: &[(&str, &str)]| -> Vec<Setting> {
            let read = |(name, text): &(&str, &str)| read(name, text).expect("a value");
            flags.iter().map(read).collect()
        };
        assert!(names_enis(&settings(&[("rules", "on"), ("eni", "eth1")])));
        assert!(!names_enis(&settings(&[
            ("rules", "on"),
            ("table", "eth1=7")
        ])));
        assert!(!names_enis(&[]));
    }

    #[test]
    fn a_mode_for_all_enis_replaces_the_modes_of_single_ones() {
        let policy = over(
            with_enis(&["a", "b"]),
            &[("mode", "a=drop"), ("mode", "b=steer")],
        );
        let policy = policy.expect("flags");
        assert_eq!(policy.mode, Mode::Count);
        let modes = |policy: &Policy| -> Vec<Option<Mode>> {
            policy.enis.iter().map(|eni| eni.mode).collect()
        };
        assert_eq!(modes(&policy), [Some(Mode::Drop), Some(Mode::Steer)]);
        let policy = over(policy, &[("mode", "steer"), ("mode", "b=count")]).expect("flags");
        assert_eq!(policy.mode, Mode::Steer);
        assert_eq!(modes(&policy), [None, Some(Mode::Count)]);
    }

    #[test]
    fn the_gateway_flag_sets_the_gateway_of_the_family_of_its_address() {
        let mut policy = with_enis(&["a"]);
        for (text, shown) in [
            ("a=last", ["last", "auto"]),
            ("a=fe80::1", ["last", "fe80::1"]),
            ("a=10.0.0.1", ["10.0.0.1", "fe80::1"]),
            ("a=first", ["first", "fe80::1"]),
        ] {
            policy = over(policy, &[("gateway", text)]).expect("flags");
            let key = |name| {
                keys::ENI
                    .iter()
                    .find(|key| key.name == name)
                    .expect("a key")
            };
            let value = |name| (key(name).get)(&policy.enis[0]);
            let shown = shown.map(|word| Some(Value::from(word)));
            assert_eq!([value("gateway"), value("gateway6")], shown, "{text}");
        }
        for wrong in ["a=auto", "a=0.0.0.0", "a=127.0.0.1", "a=224.0.0.1", "a=x"] {
            assert!(read("gateway", wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_flag_for_an_eni_that_is_not_managed_is_refused_and_names_those_that_are() {
        let error = |policy, name, text| over(policy, &[(name, text)]).expect_err("unmanaged");
        let refused = error(with_enis(&["eth0", "eth1"]), "mode", "eth9=steer");
        assert_eq!(
            refused.to_string(),
            "`--mode eth9=steer`: eth9 is not a managed ENI"
        );
        assert_eq!(
            refused.hint,
            "the managed ENIs are eth0, eth1; add --eni eth9"
        );
        let refused = error(Policy::default(), "table", "eth9=7");
        assert_eq!(refused.hint, "name the ENIs first: --eni eth9 --eni ...");
        // One that the configuration leaves alone is not managed either.
        let mut policy = with_enis(&["eth0", "eth9"]);
        policy.enis[1].managed = false;
        let refused = error(policy, "table", "eth9=7");
        assert_eq!(refused.hint, "the managed ENIs are eth0; add --eni eth9");
    }

    #[test]
    fn a_value_that_a_flag_does_not_accept_is_refused_before_anything_is_set() {
        let error = |name, text| read(name, text).expect_err("a wrong value");
        assert_eq!(error("table", "7"), "'7' is not ENI=TABLE");
        assert_eq!(error("table", "=7"), "'=7' is not ENI=TABLE");
        assert_eq!(error("mode", "=drop"), "'=drop' is not [ENI=]MODE");
        assert_eq!(error("mode", "eth1="), "'' is not count, steer or drop");
        assert_eq!(
            error("mode", "steel"),
            "'steel' is not count, steer or drop"
        );
        assert_eq!(error("rules", "maybe"), "expected on or off, found 'maybe'");
        let error = over(Policy::default(), &[("eni", "eth1"), ("eni", "eth2")]);
        assert_eq!(error.map(|policy| policy.enis.len()), Ok(2));
    }

    #[test]
    fn a_setting_whose_value_does_not_fit_names_its_flag_in_the_hint() {
        let setting = flag("group").setting("x").expect("read later");
        let error = setting
            .put_into(&mut Policy::default())
            .expect_err("no number");
        assert_eq!(error.hint, "'eni-steer help apply' describes --group");
        let setting = flag("group").setting("7").expect("a number");
        assert_eq!(format!("{setting:?}"), "--group 7");
        let setting = flag("eni").setting("eth1").expect("a name");
        assert_eq!(format!("{setting:?}"), "--eni eth1");
    }
}
