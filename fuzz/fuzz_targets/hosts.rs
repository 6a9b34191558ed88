//! Plans over hosts files.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silo_downstream::fuzz::hosts(data));
