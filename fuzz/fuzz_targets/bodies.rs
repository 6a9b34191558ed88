//! Request bodies.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silo_hub::internals::http::fuzz::bodies(data));
