//! Implements `aya::Pod` for the types that are keys or values of maps, so that aya can copy them
//! as bytes.

use crate::{
    Address, AddressCell, AddressRow, Count, DestinationKey, EniCounters, EniRow, Event, LookupKey,
    NextHop, Offsets, Owner, PrefixKey, Settings, ShortTable, SourceSet, StrayKey, StrayValue,
};

macro_rules! pod {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: the type is repr(C) or repr(transparent) and consists of integers and arrays of
        // integers only, so every bit pattern is valid. The size assertion beside the type
        // excludes padding.
        unsafe impl aya::Pod for $t {}
    )*};
}

pod!(
    Address,
    AddressCell,
    AddressRow,
    Count,
    DestinationKey,
    EniCounters,
    EniRow,
    Event,
    LookupKey,
    NextHop,
    Offsets,
    Owner,
    PrefixKey,
    Settings,
    ShortTable,
    SourceSet,
    StrayKey,
    StrayValue,
);
