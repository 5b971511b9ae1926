//! `hafen schema`.

/// (not built yet)
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_args: &Args) -> u8 {
    eprintln!("error: not built yet");
    2
}
