//! The command `fencelab`: the laboratory over fencepost's own algorithms and the originals.

use std::process::ExitCode;

fn main() -> ExitCode {
    fencepost_sim::lab().main()
}
