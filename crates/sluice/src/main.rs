//! The shell around the library: arguments in, exit code out.

#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    sluice::cli::main()
}
