//! Hostnames.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silo_shared::fuzz::hostname(data));
