//! See `hafen::fuzzing::cib`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hafen::fuzzing::cib(bytes));
