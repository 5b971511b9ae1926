//! See `hafen::fuzzing::manifests`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::manifests(bytes));
