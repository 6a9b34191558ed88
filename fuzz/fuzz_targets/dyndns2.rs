//! Updates by dyndns2.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silo_hub::internals::compat::fuzz::dyndns2(data));
