//! The registry of keys: every key of the configuration, table by table, in the order of the
//! reference page.
//!
//! Everything that knows the keys reads them here: the reader of the files, `config show` and
//! its origins, the flags of the command line, the tables of docs/configuration.md, and
//! contrib/config.toml. To add a key, add an entry here and a sample of its value to
//! `keys/tests.rs`, then run the tests with `ENI_STEER_UPDATE=1`, which rewrites both documents.

use std::ops::RangeInclusive;

use super::{
    AccessAction, AccessRule, Balance, Discover, EniPolicy, GatewayChoice, Mirror, Policy,
    PrimaryPolicy, Selector,
    input::{Input, Mistake},
    literal::Value,
    registry::{Accepts, Example, Flag, Key},
    value::{self, Words},
};
use crate::model::{AttachKind, Family, Group, Mac, Mode, TableId};

/// The longest alternative name (`ALTIFNAMSIZ` less the closing zero).
const ALTERNATIVE_NAME: usize = 127;
/// The longest name (`IFNAMSIZ` less the closing zero).
const NAME: usize = 15;
/// Weights that a multipath route can hold (`rtnh_hops`, a byte, holds the weight less one).
const WEIGHTS: RangeInclusive<u16> = 1..=256;
/// How many owned addresses and prefixes the maps of the programs may have room for.
const ADDRESSES: RangeInclusive<u32> = 1..=1 << 20;

/// The keys of `[[eni]]` that select the interface: each `[[eni]]` has one of them.
pub(super) const SELECTORS: [&str; 2] = ["name", "mac"];

static MODES: Words<Mode> = Words {
    words: &[
        ("count", Mode::Count),
        ("steer", Mode::Steer),
        ("drop", Mode::Drop),
    ],
};

static DISCOVERIES: Words<Discover> = Words {
    words: &[
        ("if-none-named", Discover::IfNoneNamed),
        ("always", Discover::Always),
    ],
};

static PRIMARIES: Words<PrimaryPolicy> = Words {
    words: &[
        ("auto", PrimaryPolicy::Auto),
        ("observe", PrimaryPolicy::Observe),
        ("full", PrimaryPolicy::Full),
    ],
};

static MIRRORS: Words<Mirror> = Words {
    words: &[("needed", Mirror::Needed), ("exact", Mirror::Exact)],
};

static ATTACHMENTS: Words<Option<AttachKind>> = Words {
    words: &[
        ("auto", None),
        ("tcx", Some(AttachKind::Tcx)),
        ("clsact", Some(AttachKind::Clsact)),
    ],
};

static ACTIONS: Words<AccessAction> = Words {
    words: &[
        ("prohibit", AccessAction::Prohibit),
        ("unreachable", AccessAction::Unreachable),
        ("blackhole", AccessAction::Blackhole),
    ],
};

/// `--mode` sets the mode of the policy, and with `ENI=` the mode of one ENI.
const MODE: Flag = Flag {
    name: "mode",
    value: "MODE",
    help: "Mode of all ENIs, or of one: count, steer or drop",
    repeats: true,
};

/// The keys of `[policy]`.
pub(super) static POLICY: &[Key<Policy>] = &[
    Key {
        name: "mode",
        accepts: Accepts::Words(|| MODES.names()),
        about: "What happens to a packet that leaves through an ENI that does not own its source \
                address. `\"count\"`: eni-steer counts it. `\"steer\"`: eni-steer sends it out \
                through the ENI that owns the source. `\"drop\"`: eni-steer drops it.",
        example: Example::Default,
        flag: Some(MODE),
        set: |policy, input| {
            policy.mode = input.read(|text| MODES.read(text))?;
            if input.is_flag() {
                // A mode for all ENIs replaces the modes of single ones.
                policy.enis.iter_mut().for_each(|eni| eni.mode = None);
            }
            Ok(())
        },
        get: |policy| MODES.word(&policy.mode).map(Value::from),
    },
    Key {
        name: "discover",
        accepts: Accepts::Words(|| DISCOVERIES.names()),
        about: "Whether eni-steer looks for ENIs itself: interfaces that are up, not virtual, and \
                have a global address and a gateway. `\"if-none-named\"`: only if no `[[eni]]` \
                names one. `\"always\"`: in addition to the ENIs that are named.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            policy.discover = input.read(|text| DISCOVERIES.read(text))?;
            Ok(())
        },
        get: |policy| DISCOVERIES.word(&policy.discover).map(Value::from),
    },
    Key {
        name: "primary",
        accepts: Accepts::Words(|| PRIMARIES.names()),
        about: "What eni-steer does for the primary ENI, the one that the best default route of \
                the main table uses. `\"auto\"`: the main table keeps routing its packets where \
                it alone decides about them. On a subnet shared with another ENI it gets a table \
                for this subnet; beside another default route that is as good it gets source rules \
                and a table with a default route. `\"observe\"`: eni-steer only counts its \
                packets. `\"full\"`: it always gets source rules and a table, like any other ENI.",
        example: Example::Default,
        flag: Some(Flag {
            name: "primary",
            value: "auto|observe|full",
            help: "Primary ENI: 'auto' gives it source rules only where the main table alone does \
                   not decide, 'observe' never, 'full' always",
            repeats: false,
        }),
        set: |policy, input| {
            policy.primary = input.read(|text| PRIMARIES.read(text))?;
            Ok(())
        },
        get: |policy| PRIMARIES.word(&policy.primary).map(Value::from),
    },
    Key {
        name: "mirror",
        accepts: Accepts::Words(|| MIRRORS.names()),
        about: "Which of the main table's routes through an ENI the ENI's table gets. \
                `\"needed\"`: those that change where a packet goes; a route that leads the same \
                way as the prefix around it is left out. `\"exact\"`: all of them.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            policy.mirror = input.read(|text| MIRRORS.read(text))?;
            Ok(())
        },
        get: |policy| MIRRORS.word(&policy.mirror).map(Value::from),
    },
    Key {
        name: "rules",
        accepts: Accepts::Switch,
        about: "Whether eni-steer installs routing tables and rules.",
        example: Example::Default,
        flag: Some(Flag {
            name: "rules",
            value: "on|off",
            help: "Install routing tables and rules",
            repeats: false,
        }),
        set: |policy, input| {
            policy.rules = input.switch()?;
            Ok(())
        },
        get: |policy| Some(policy.rules.into()),
    },
    Key {
        name: "programs",
        accepts: Accepts::Switch,
        about: "Whether eni-steer attaches its TC programs, which count, steer and drop packets.",
        example: Example::Default,
        flag: Some(Flag {
            name: "programs",
            value: "on|off",
            help: "Attach the TC programs",
            repeats: false,
        }),
        set: |policy, input| {
            policy.programs = input.switch()?;
            Ok(())
        },
        get: |policy| Some(policy.programs.into()),
    },
    Key {
        name: "sysctls",
        accepts: Accepts::Switch,
        about: "Whether eni-steer changes rp_filter, arp_ignore and arp_announce of an ENI where \
                their values would break its routing. `eni-steer remove` restores them.",
        example: Example::Default,
        flag: Some(Flag {
            name: "sysctls",
            value: "on|off",
            help: "Change rp_filter, arp_ignore and arp_announce where needed",
            repeats: false,
        }),
        set: |policy, input| {
            policy.sysctls = input.switch()?;
            Ok(())
        },
        get: |policy| Some(policy.sysctls.into()),
    },
    Key {
        name: "attach",
        accepts: Accepts::Words(|| ATTACHMENTS.names()),
        about: "How eni-steer attaches its programs. `\"tcx\"` needs kernel 6.6 or later. \
                `\"auto\"`: TCX if the kernel has it, else clsact.",
        example: Example::Default,
        flag: Some(Flag {
            name: "attach",
            value: "KIND",
            help: "How to attach the programs; 'auto' is TCX if the kernel has it, else clsact",
            repeats: false,
        }),
        set: |policy, input| {
            policy.attach = input.read(|text| ATTACHMENTS.read(text))?;
            Ok(())
        },
        get: |policy| ATTACHMENTS.word(&policy.attach).map(Value::from),
    },
    Key {
        name: "table-base",
        accepts: Accepts::Form("a whole number"),
        about: "First of the 1000 table numbers that eni-steer uses: eth1 gets this number plus 1, \
                eth2 this number plus 2. No other program may use these tables.",
        example: Example::Default,
        flag: Some(Flag {
            name: "table-base",
            value: "TABLE",
            help: "First of the 1000 table numbers that eni-steer uses",
            repeats: false,
        }),
        set: |policy, input| {
            policy.table_base = TableId(input.whole_number()?);
            Ok(())
        },
        get: |policy| Some(policy.table_base.0.into()),
    },
    Key {
        name: "priorities",
        accepts: Accepts::Form("`\"FIRST-LAST\"`"),
        about: "Priorities of eni-steer's rules, a range of 901 or more. eni-steer refuses to install \
                rules while another program has a rule in this range.",
        example: Example::Default,
        flag: Some(Flag {
            name: "band",
            value: "FIRST-LAST",
            help: "Priorities of eni-steer's rules",
            repeats: false,
        }),
        set: |policy, input| {
            let (first, last) = input.read(value::band)?;
            policy.ownership.first = first;
            policy.ownership.last = last;
            Ok(())
        },
        get: |policy| {
            let (first, last) = (policy.ownership.first, policy.ownership.last);
            Some(format!("{first}-{last}").into())
        },
    },
    Key {
        name: "protocol",
        accepts: Accepts::Form("a number from 0 to 255"),
        about: "Protocol number of eni-steer's routes and rules. eni-steer deletes only what \
                carries this number, so no other program may use it. The numbers of known routing \
                daemons are refused.",
        example: Example::Default,
        flag: Some(Flag {
            name: "protocol",
            value: "NUMBER",
            help: "Protocol number of eni-steer's routes and rules",
            repeats: false,
        }),
        set: |policy, input| {
            policy.ownership.protocol = input.read_number_or_string(value::protocol)?;
            Ok(())
        },
        get: |policy| Some(u32::from(policy.ownership.protocol.0).into()),
    },
    Key {
        name: "group",
        accepts: Accepts::Form("a whole number"),
        about: "Interface group that eni-steer puts the ENIs into. No other interface may be in \
                it.",
        example: Example::Default,
        flag: Some(Flag {
            name: "group",
            value: "NUMBER",
            help: "Interface group of the ENIs",
            repeats: false,
        }),
        set: |policy, input| {
            policy.ownership.group = Group(input.whole_number()?);
            Ok(())
        },
        get: |policy| Some(policy.ownership.group.0.into()),
    },
    Key {
        name: "exempt",
        accepts: Accepts::Form("a list of addresses and prefixes"),
        about: "Destinations that eni-steer never steers or drops packets to. Link-local \
                addresses and the clouds' metadata services are always exempt.",
        example: Example::Default,
        flag: Some(Flag {
            name: "exempt",
            value: "PREFIX",
            help: "Never steer or drop packets to this destination",
            repeats: true,
        }),
        set: |policy, input| input.read_list(&mut policy.exempt, value::prefix),
        get: |policy| {
            Some(
                policy
                    .exempt
                    .iter()
                    .map(|net| value::prefix_text(*net))
                    .collect(),
            )
        },
    },
    Key {
        name: "exempt-mark",
        accepts: Accepts::Form("a number or `\"MARK/MASK\"`"),
        about: "eni-steer never steers or drops packets that carry this mark.",
        example: Example::Value("\"0x80000/0xff0000\""),
        flag: Some(Flag {
            name: "exempt-mark",
            value: "MARK[/MASK]",
            help: "Never steer or drop packets that carry this mark",
            repeats: false,
        }),
        set: |policy, input| {
            let mark = input.read_number_or_string(value::mark)?;
            policy.settings.exempt_mark = Some(mark);
            Ok(())
        },
        get: |policy| {
            let mark = policy.settings.exempt_mark;
            mark.map(|mark| value::mark_text(mark).into())
        },
    },
    Key {
        name: "source-length4",
        accepts: Accepts::Form("a whole number from 0 to 32"),
        about: "eni-steer counts remote IPv4 sources by prefixes of this length; 32 counts each \
                address separately.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            let length = input.whole_number()?;
            policy.settings.source_length4 = value::prefix_length(length, 32)?;
            Ok(())
        },
        get: |policy| Some(u32::from(policy.settings.source_length4).into()),
    },
    Key {
        name: "source-length6",
        accepts: Accepts::Form("a whole number from 0 to 128"),
        about: "The same for IPv6; 128 counts each address separately.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            let length = input.whole_number()?;
            policy.settings.source_length6 = value::prefix_length(length, 128)?;
            Ok(())
        },
        get: |policy| Some(u32::from(policy.settings.source_length6).into()),
    },
    Key {
        name: "events-per-second",
        accepts: Accepts::Form("a whole number"),
        about: "How many mismatch events each CPU reports per second. eni-steer counts all \
                mismatches, whether it reports them or not.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            policy.settings.events_per_second = input.whole_number()?;
            Ok(())
        },
        get: |policy| Some(policy.settings.events_per_second.into()),
    },
    Key {
        name: "restore-default-rules",
        accepts: Accepts::Switch,
        about: "Whether eni-steer restores the kernel's own rule `from all lookup main` if another \
                program deletes it.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            policy.restore_default_rules = input.switch()?;
            Ok(())
        },
        get: |policy| Some(policy.restore_default_rules.into()),
    },
];

/// The keys of `[limits]`.
pub(super) static LIMITS: &[Key<Policy>] = &[
    Key {
        name: "addresses",
        accepts: Accepts::Form("a whole number from 1 to 1048576"),
        about: "How many addresses and delegated prefixes the ENIs can own together.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            let number = input.whole_number()?;
            if !ADDRESSES.contains(&number) {
                let (least, most) = (ADDRESSES.start(), ADDRESSES.end());
                return Err(format!("{number} is not from {least} to {most}").into());
            }
            policy.sizes.addresses = number;
            Ok(())
        },
        get: |policy| Some(policy.sizes.addresses.into()),
    },
    Key {
        name: "sources",
        accepts: Accepts::Form("bytes, or a number with kB, MB, GB, KiB, MiB or GiB"),
        about: "Memory for the counters of single sources, for all CPUs together.",
        example: Example::Default,
        flag: None,
        set: |policy, input| {
            policy.sizes.sources_bytes = input.read_number_or_string(value::size)?;
            Ok(())
        },
        get: |policy| Some(value::size_text(policy.sizes.sources_bytes).into()),
    },
];

/// The keys of an `[[eni]]`.
pub(super) static ENI: &[Key<EniPolicy>] = &[
    Key {
        name: "name",
        accepts: Accepts::Form("a name or alternative name"),
        about: "Selects the interface by its name or an alternative name. Each `[[eni]]` has \
                either `name` or `mac`.",
        example: Example::Value("\"eth1\""),
        flag: Some(Flag {
            name: "eni",
            value: "ENI",
            help: "Manage only the interfaces named by this flag (name, alternative name or MAC \
                   address); default: the ENIs that eni-steer finds",
            repeats: true,
        }),
        set: |eni, input| {
            eni.select = Selector::Name(
                input
                    .read(|text| value::interface(text, ALTERNATIVE_NAME))
                    .map_err(|mistake| mac_as_name(input).unwrap_or(mistake))?,
            );
            Ok(())
        },
        get: |eni| match &eni.select {
            Selector::Name(name) => Some(name.as_str().into()),
            Selector::Mac(_) => None,
        },
    },
    Key {
        name: "mac",
        accepts: Accepts::Form("a MAC address"),
        about: "Selects the interface by its MAC address, which stays the same when the interface \
                is renamed.",
        example: Example::Apart("\"02:00:5e:00:53:02\""),
        flag: None,
        set: |eni, input| {
            eni.select = Selector::Mac(input.read(str::parse)?);
            Ok(())
        },
        get: |eni| match &eni.select {
            Selector::Name(_) => None,
            Selector::Mac(mac) => Some(mac.to_string().into()),
        },
    },
    Key {
        name: "managed",
        accepts: Accepts::Switch,
        about: "`false`: eni-steer leaves this interface alone, even if it looks for ENIs itself.",
        example: Example::Default,
        flag: None,
        set: |eni, input| {
            eni.managed = input.switch()?;
            Ok(())
        },
        get: |eni| Some(eni.managed.into()),
    },
    Key {
        name: "table",
        accepts: Accepts::Form("a whole number"),
        about: "Number of its routing table. Without it, eni-steer adds the number at the end of \
                the ENI's name to `table-base`: eth1 gets table 21001.",
        example: Example::Value("1001"),
        flag: Some(Flag {
            name: "table",
            value: "TABLE",
            help: "Routing table of an ENI",
            repeats: true,
        }),
        set: |eni, input| {
            eni.table = Some(TableId(input.whole_number()?));
            Ok(())
        },
        get: |eni| eni.table.map(|table| table.0.into()),
    },
    Key {
        name: "gateway",
        accepts: Accepts::Form("an IPv4 address, `\"first\"`, `\"last\"` or `\"auto\"`"),
        about: "Its IPv4 gateway. `\"first\"`: the first address of its subnet. `\"last\"`: the \
                last but two, as on Alibaba Cloud (.253 of a /24). `\"auto\"`: eni-steer takes the \
                gateway from the ENI's default route, its DHCP lease, or another ENI of the same \
                subnet.",
        example: Example::Value("\"172.16.20.253\""),
        flag: Some(Flag {
            name: "gateway",
            value: "ADDRESS",
            help: "Gateway of an ENI: an IPv4 or IPv6 address, or 'first' or 'last' for the first \
                   or last-but-two IPv4 address of its subnet",
            repeats: true,
        }),
        set: |eni, input| {
            if input.is_flag() {
                let choice = input.read(value::gateway_of_any_family)?;
                set_gateway(eni, choice.family(), Some(choice));
                return Ok(());
            }
            read_gateway(eni, Family::V4, input)
        },
        get: |eni| Some(gateway_word(eni, Family::V4)),
    },
    Key {
        name: "gateway6",
        accepts: Accepts::Form("an IPv6 address or `\"auto\"`"),
        about: "Its IPv6 gateway; the address may be link-local. `\"auto\"`: as for `gateway`. \
                The flag `--gateway` sets it if its value is an IPv6 address.",
        example: Example::Default,
        flag: None,
        set: |eni, input| read_gateway(eni, Family::V6, input),
        get: |eni| Some(gateway_word(eni, Family::V6)),
    },
    Key {
        name: "addresses",
        accepts: Accepts::Form("a list of addresses"),
        about: "Addresses it owns in addition to those configured on it.",
        example: Example::Value("[\"172.16.20.178\"]"),
        flag: Some(Flag {
            name: "address",
            value: "ADDRESS",
            help: "Address that an ENI owns in addition to those configured on it",
            repeats: true,
        }),
        set: |eni, input| input.read_list(&mut eni.addresses, value::owned_address),
        get: |eni| Some(eni.addresses.iter().map(ToString::to_string).collect()),
    },
    Key {
        name: "prefixes",
        accepts: Accepts::Form("a list of prefixes"),
        about: "Prefixes that the cloud delegates to it.",
        example: Example::Value("[\"172.16.21.0/28\", \"2001:db8:0:1::/80\"]"),
        flag: Some(Flag {
            name: "prefix",
            value: "PREFIX",
            help: "Prefix that the cloud delegates to an ENI",
            repeats: true,
        }),
        set: |eni, input| input.read_list(&mut eni.prefixes, value::owned_prefix),
        get: |eni| {
            Some(
                eni.prefixes
                    .iter()
                    .map(|net| value::prefix_text(*net))
                    .collect(),
            )
        },
    },
    Key {
        name: "mode",
        accepts: Accepts::Words(|| MODES.names()),
        about: "Its mode. Without it, the mode of `[policy]`.",
        example: Example::Value("\"steer\""),
        flag: Some(MODE),
        set: |eni, input| {
            eni.mode = Some(input.read(|text| MODES.read(text))?);
            Ok(())
        },
        get: |eni| eni.mode.and_then(|mode| MODES.word(&mode)).map(Value::from),
    },
    Key {
        name: "default-metric",
        accepts: Accepts::Form("a whole number"),
        about: "eni-steer adds a default route through this ENI to the main table, with this \
                metric, unless the main table has one already. The metric must be greater than \
                that of the main table's own default route. Meant for old systems that configure \
                no such route.",
        example: Example::Value("200"),
        flag: None,
        set: |eni, input| {
            eni.default_metric = Some(input.whole_number()?);
            Ok(())
        },
        get: |eni| eni.default_metric.map(Value::from),
    },
];

/// The keys of a `[[rule]]`.
pub(super) static RULE: &[Key<AccessRule>] = &[
    Key {
        name: "from",
        accepts: Accepts::Form("an address or prefix"),
        about: "Source of the packet.",
        example: Example::Value("\"172.17.0.0/16\""),
        flag: None,
        set: |rule, input| {
            rule.from = Some(input.read(value::rule_prefix)?);
            Ok(())
        },
        get: |rule| rule.from.map(|net| value::prefix_text(net).into()),
    },
    Key {
        name: "to",
        accepts: Accepts::Form("an address or prefix"),
        about: "Destination of the packet.",
        example: Example::Value("\"10.0.0.0/8\""),
        flag: None,
        set: |rule, input| {
            rule.to = Some(input.read(value::rule_prefix)?);
            Ok(())
        },
        get: |rule| rule.to.map(|net| value::prefix_text(net).into()),
    },
    Key {
        name: "proto",
        accepts: Accepts::Form(
            "`\"tcp\"`, `\"udp\"`, `\"icmp\"`, `\"ipv6-icmp\"`, `\"sctp\"`, `\"gre\"`, `\"esp\"` \
             or a number from 1 to 255",
        ),
        about: "IP protocol of the packet.",
        example: Example::Value("\"tcp\""),
        flag: None,
        set: |rule, input| {
            rule.ip_protocol = Some(input.read_number_or_string(value::ip_protocol)?);
            Ok(())
        },
        get: |rule| {
            let protocol = rule.ip_protocol;
            protocol.map(|number| value::ip_protocol_text(number).into())
        },
    },
    Key {
        name: "sport",
        accepts: Accepts::Form("a port or `\"FIRST-LAST\"`"),
        about: "Source port of the packet.",
        example: Example::Value("\"1024-65534\""),
        flag: None,
        set: |rule, input| {
            rule.sport = Some(input.read_number_or_string(value::ports)?);
            Ok(())
        },
        get: |rule| rule.sport.map(|ports| value::ports_text(ports).into()),
    },
    Key {
        name: "dport",
        accepts: Accepts::Form("a port or `\"FIRST-LAST\"`"),
        about: "Destination port of the packet.",
        example: Example::Value("443"),
        flag: None,
        set: |rule, input| {
            rule.dport = Some(input.read_number_or_string(value::ports)?);
            Ok(())
        },
        get: |rule| rule.dport.map(|ports| value::ports_text(ports).into()),
    },
    Key {
        name: "uid",
        accepts: Accepts::Form("a user id or `\"FIRST-LAST\"`"),
        about: "User of this host whose socket sends the packet.",
        example: Example::Apart("\"1000-1999\""),
        flag: None,
        set: |rule, input| {
            rule.uids = Some(input.read_number_or_string(value::uids)?);
            Ok(())
        },
        get: |rule| rule.uids.map(|uids| value::uids_text(uids).into()),
    },
    Key {
        name: "mark",
        accepts: Accepts::Form("a number or `\"MARK/MASK\"`"),
        about: "Mark of the packet.",
        example: Example::Value("\"0x7/0xff\""),
        flag: None,
        set: |rule, input| {
            rule.mark = Some(input.read_number_or_string(value::mark)?);
            Ok(())
        },
        get: |rule| rule.mark.map(|mark| value::mark_text(mark).into()),
    },
    Key {
        name: "iif",
        accepts: Accepts::Form("a name"),
        about: "Interface by which the packet comes in; `\"lo\"`: a socket of this host sends it.",
        example: Example::Value("\"docker0\""),
        flag: None,
        set: |rule, input| {
            rule.iif = Some(input.read(|text| value::interface(text, NAME))?);
            Ok(())
        },
        get: |rule| rule.iif.as_deref().map(Value::from),
    },
    Key {
        name: "eni",
        accepts: Accepts::Form("a name, an alternative name or a MAC address"),
        about: "The packet leaves through this ENI. Write it as its `[[eni]]` does. Each \
                `[[rule]]` has either `eni` or `action`.",
        example: Example::Value("\"eth1\""),
        flag: None,
        set: |rule, input| {
            let select = input.read(|text| Ok(Selector::from(text)))?;
            rule.then = AccessAction::Eni(select);
            Ok(())
        },
        get: |rule| match &rule.then {
            AccessAction::Eni(select) => Some(select.to_string().into()),
            AccessAction::Prohibit | AccessAction::Unreachable | AccessAction::Blackhole => None,
        },
    },
    Key {
        name: "action",
        accepts: Accepts::Words(|| ACTIONS.names()),
        about: "The kernel refuses the packet.",
        example: Example::Apart("\"prohibit\""),
        flag: None,
        set: |rule, input| {
            rule.then = input.read(|text| ACTIONS.read(text))?;
            Ok(())
        },
        get: |rule| ACTIONS.word(&rule.then).map(Value::from),
    },
];

/// The keys of `[balance]`.
pub(super) static BALANCE: &[Key<Policy>] = &[
    Key {
        name: "weights",
        accepts: Accepts::Form("`{ ENI = NUMBER, ... }`, from 1 to 256 each"),
        about: "The share of new connections that each ENI gets.",
        example: Example::Value("{ eth0 = 1, eth1 = 3 }"),
        flag: None,
        set: |policy, input| {
            let weights = read_weights(input)?;
            let table = policy.balance.as_ref().and_then(|balance| balance.table);
            policy.balance = (!weights.is_empty()).then_some(Balance { weights, table });
            Ok(())
        },
        get: |policy| {
            let weights = &policy.balance.as_ref()?.weights;
            let pair = |(eni, weight): &(Selector, u16)| {
                (eni.to_string(), Value::from(u32::from(*weight)))
            };
            Some(Value::Table(weights.iter().map(pair).collect()))
        },
    },
    Key {
        name: "table",
        accepts: Accepts::Form("a whole number"),
        about: "Number of the table that holds the multipath default route. Without it, \
                `table-base` + 999.",
        example: Example::Value("21999"),
        flag: None,
        set: |policy, input| {
            let table = TableId(input.whole_number()?);
            let balance = policy.balance.as_mut();
            let balance =
                balance.ok_or_else(|| "[balance] has a table, but no weights".to_owned())?;
            balance.table = Some(table);
            Ok(())
        },
        get: |policy| policy.balance.as_ref()?.table.map(|table| table.0.into()),
    },
];

/// A MAC address in `name`: says which key takes it. Its colons can not be part of a name.
fn mac_as_name(input: Input<'_>) -> Option<Mistake> {
    let mac: Mac = input.read(str::parse).ok()?;
    let mistake = Mistake::from(format!("{mac} is a MAC address"));
    Some(mistake.hint(format!("write mac = \"{mac}\"")))
}

fn read_gateway(eni: &mut EniPolicy, family: Family, input: Input<'_>) -> Result<(), Mistake> {
    let choice = input.read(|text| value::gateway(text, family))?;
    set_gateway(eni, family, choice);
    Ok(())
}

/// Replaces the gateway of one family.
fn set_gateway(eni: &mut EniPolicy, family: Family, choice: Option<GatewayChoice>) {
    eni.gateways.retain(|other| other.family() != family);
    eni.gateways.extend(choice);
}

fn gateway_word(eni: &EniPolicy, family: Family) -> Value {
    let choice = eni.gateways.iter().find(|choice| choice.family() == family);
    value::gateway_text(choice.copied()).into()
}

fn read_weights(input: Input<'_>) -> Result<Vec<(Selector, u16)>, Mistake> {
    let mut weights: Vec<(Selector, u16)> = Vec::new();
    for (eni, weight) in input.table()? {
        let select = Selector::from(eni.get_ref().as_ref());
        if weights.iter().any(|(other, _)| *other == select) {
            let mistake = Mistake::from(format!("{select} has two weights"));
            return Err(mistake.at(eni.span()));
        }
        let number = Input::File(weight).whole_number();
        let number = number.map_err(|mistake| mistake.at(weight.span()))?;
        let number = u16::try_from(number).ok().filter(|n| WEIGHTS.contains(n));
        let Some(number) = number else {
            let (least, most) = (WEIGHTS.start(), WEIGHTS.end());
            let what = format!("the weight of {select} must be from {least} to {most}");
            return Err(Mistake::from(what).at(weight.span()));
        };
        weights.push((select, number));
    }
    match weights.len() {
        1 => Err("a balance needs two ENIs or more".to_owned().into()),
        _ => Ok(weights),
    }
}

#[cfg(test)]
mod tests;
