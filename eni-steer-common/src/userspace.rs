//! `aya::Pod` for the types that are keys or values of maps.

use crate::{
    Address, AddressCell, AddressRow, Count, DestinationKey, EniCounters, EniRow, Event, NextHop,
    Owner, PrefixKey, Settings, ShortTable, SourceSet, StrayKey, StrayValue,
};

macro_rules! pod {
    ($($t:ty),* $(,)?) => {$(
        // SAFETY: repr(C) or repr(transparent), made of integers and arrays of integers
        // only, every bit pattern is valid, and its size assertion beside the type
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
    NextHop,
    Owner,
    PrefixKey,
    Settings,
    ShortTable,
    SourceSet,
    StrayKey,
    StrayValue,
);
