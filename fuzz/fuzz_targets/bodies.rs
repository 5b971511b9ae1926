//! See `hafen::fuzzing::bodies`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::bodies(bytes));
