// SPDX-License-Identifier: Apache-2.0
//! `driver build --dir DIR --out NAME.wasm`: compiles an unmodified Rust operator to a Dormouse guest.
//!
//! It asks cargo which versions the operator resolves to, makes edited copies of the few crates that need it in the
//! cache, and lets cargo build a shadow of the tree with those copies as patches. Read guest.rs first.

mod edit;
mod guest;
mod json;
mod shadow;
#[cfg(test)]
mod testing;

use std::path::PathBuf;
use std::process::ExitCode;

/// 64-bit FNV-1a: names folders of the cache; nothing is trusted because of it.
fn digest(parts: &[Vec<u8>]) -> String {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        for byte in part.iter().chain(&(part.len() as u64).to_le_bytes()) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

const USAGE: &str = "usage: driver build --dir DIR --out NAME.wasm [--edits DIR] [--package P] [--bin NAME]
                    [--profile release] [--features F]... [--no-default-features] [--all-features] [--quiet]
       driver build --dir DIR --only-edits     only tells whether the edits fit the operator's crates
The cache is $DORMOUSE_CACHE, else ~/.cache/dormouse.";

fn options(mut args: impl Iterator<Item = String>) -> Result<guest::Options, String> {
    if args.next().as_deref() != Some("build") {
        return Err(USAGE.into());
    }
    let mut options = guest::Options::default();
    let mut edits = None;
    while let Some(flag) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{flag} needs a value\n{USAGE}"));
        match flag.as_str() {
            "--dir" => options.dir = value()?.into(),
            "--out" => options.out = value()?.into(),
            "--edits" => edits = Some(PathBuf::from(value()?)),
            "--package" | "-p" => options.package = Some(value()?),
            "--bin" => options.bin = Some(value()?),
            "--profile" => options.profile = value()?,
            "--features" | "-F" => options.cargo_flags.extend(["--features".into(), value()?]),
            "--no-default-features" | "--all-features" => options.cargo_flags.push(flag),
            "--only-edits" => options.only_edits = true,
            "--quiet" | "-q" => options.quiet = true,
            _ => return Err(format!("unknown option {flag}\n{USAGE}")),
        }
    }
    if options.dir.as_os_str().is_empty() || (options.out.as_os_str().is_empty() && !options.only_edits) {
        return Err(USAGE.into());
    }
    // Beside the driver's own source, where `dormouse build` lays it; given by hand it may be anywhere.
    options.edits = edits.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../edits"));
    options.cache = match std::env::var_os("DORMOUSE_CACHE").filter(|v| !v.is_empty()) {
        Some(cache) => cache.into(),
        None => match std::env::var_os("HOME").filter(|v| !v.is_empty()) {
            Some(home) => PathBuf::from(home).join(".cache/dormouse"),
            None => return Err("neither DORMOUSE_CACHE nor HOME is set: where should the cache be?".into()),
        },
    }
    .join("rust");
    Ok(options)
}

fn main() -> ExitCode {
    let result = options(std::env::args().skip(1)).and_then(|options| guest::build(&options));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("error: {text}");
            ExitCode::FAILURE
        }
    }
}
