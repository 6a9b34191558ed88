//! Signed requests and answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silo_shared::fuzz::signature(data));
