//! See `hafen::fuzzing::entries`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::entries(bytes));
