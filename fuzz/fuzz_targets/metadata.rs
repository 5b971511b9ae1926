//! See `hafen::fuzzing::metadata`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::metadata(bytes));
