//! See `hafen::fuzzing::snapshots`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::snapshots(bytes));
