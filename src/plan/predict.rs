//! `predict`: what a spec would cause, if every step succeeded.
