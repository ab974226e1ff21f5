//! Where fields of the kernel's structures are, from the kernel's own types (BTF, as
//! Documentation/bpf/btf.rst describes it).

use std::collections::HashMap;

/// The structures of a kernel that were asked for.
pub(super) struct Structures {
    /// Places of fields, in bytes, by structure and field.
    fields: HashMap<(String, String), u32>,
}

/// Lengths of what follows a type, by its kind: a fixed part, and a part for each of its members.
/// `None`: a kind that is not known, behind which nothing can be read.
const fn tail(kind: u32) -> Option<(usize, usize)> {
    Some(match kind {
        1 => (4, 0),                    // int
        2 | 7..=12 | 16 | 18 => (0, 0), // pointer, forward, typedef, qualifiers, function, float, type tag
        3 => (12, 0),                   // array
        4 | 5 => (0, 12),               // structure, union
        6 => (0, 8),                    // enumeration
        13 => (0, 8),                   // prototype
        14 => (4, 0),                   // variable
        15 | 19 => (0, 12),             // data section, enumeration of 64 bits
        17 => (4, 0),                   // declaration tag
        _ => return None,
    })
}

const STRUCTURE: u32 = 4;

impl Structures {
    /// Reads the structures with these names; `None`: these bytes are not BTF.
    pub(super) fn read(btf: &[u8], wanted: &[&str]) -> Option<Self> {
        let number = |at: usize| Some(u32::from_ne_bytes(*btf.get(at..)?.first_chunk()?));
        if btf.get(..2)? != 0xeb9f_u16.to_ne_bytes() {
            return None;
        }
        let header = number(4)? as usize;
        let types = btf.get(header + number(8)? as usize..)?;
        let types = types.get(..number(12)? as usize)?;
        let names = btf.get(header + number(16)? as usize..)?;
        let name = |at: u32| {
            let rest = names.get(at as usize..)?;
            std::str::from_utf8(rest.split(|byte| *byte == 0).next()?).ok()
        };
        let number = |at: usize| Some(u32::from_ne_bytes(*types.get(at..)?.first_chunk()?));
        let mut fields = HashMap::new();
        let mut at = 0;
        while at < types.len() {
            let (own, info) = (number(at)?, number(at + 4)?);
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let (fixed, each) = tail(kind)?;
            let members = at + 12;
            if kind == STRUCTURE
                && let Some(structure) = name(own).filter(|name| wanted.contains(name))
            {
                for member in (0..count).map(|n| members + n * each) {
                    // With bit fields the upper byte holds their width.
                    let bits = number(member + 8)?;
                    let bits = if info >> 31 == 1 {
                        bits & 0xff_ffff
                    } else {
                        bits
                    };
                    let key = (structure.to_owned(), name(number(member)?)?.to_owned());
                    // The first structure of a name is the one.
                    fields.entry(key).or_insert(bits / 8);
                }
            }
            at = members + fixed + count * each;
        }
        Some(Self { fields })
    }

    /// Where a field is, in bytes.
    pub(super) fn field(&self, structure: &str, field: &str) -> Option<u32> {
        let key = (structure.to_owned(), field.to_owned());
        self.fields.get(&key).copied()
    }
}
