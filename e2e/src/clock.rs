//! What every test of a stepped wall clock tries.

/// By how many seconds tests step the wall clock: by some minutes, eight hours, two days and 500 days, both ways.
pub const STEPS: [i64; 8] = [
    400,
    -400,
    28_800,
    -28_800,
    172_800,
    -172_800,
    43_200_000,
    -43_200_000,
];
