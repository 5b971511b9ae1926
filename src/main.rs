fn main() -> std::process::ExitCode {
    hafen::cli::main()
}
