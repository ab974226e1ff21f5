//! Attributes of routes that eni-steer copies without reading them.

use serde::{Deserialize, Serialize};

/// Attributes by their numbers, each with its value in the bytes that the kernel uses. eni-steer
/// keeps what the kernel gave and gives it back, also an attribute that only a later kernel knows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
// Sorted, and no allocation where a route has none: a host can have a million routes.
pub struct Attributes(Box<[(u16, Box<[u8]>)]>);

impl Attributes {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of an attribute.
    pub fn get(&self, number: u16) -> Option<&[u8]> {
        let at = self.0.binary_search_by_key(&number, |(number, _)| *number);
        at.ok().map(|at| &*self.0[at].1)
    }

    /// The value of an attribute that is a number of 32 bits.
    pub fn u32(&self, number: u16) -> Option<u32> {
        Some(u32::from_ne_bytes(self.get(number)?.try_into().ok()?))
    }

    /// Sets an attribute.
    pub fn set(&mut self, number: u16, value: &[u8]) {
        let mut all = std::mem::take(&mut self.0).into_vec();
        match all.binary_search_by_key(&number, |(number, _)| *number) {
            Ok(at) => all[at].1 = value.into(),
            Err(at) => all.insert(at, (number, value.into())),
        }
        self.0 = all.into_boxed_slice();
    }

    /// All of them, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.0.iter().map(|(number, value)| (*number, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_in_which_attributes_come_makes_no_difference() {
        let (mut one, mut other) = (Attributes::default(), Attributes::default());
        one.set(11, &[1, 0, 0, 0]);
        one.set(20, &[3]);
        other.set(20, &[3]);
        other.set(11, &[9]);
        assert_ne!(one, other);
        other.set(11, &[1, 0, 0, 0]);
        assert_eq!(one, other);
        assert_eq!(one.u32(11), Some(u32::from_ne_bytes([1, 0, 0, 0])));
        assert_eq!((one.u32(20), one.get(20)), (None, Some(&[3][..])));
    }
}
