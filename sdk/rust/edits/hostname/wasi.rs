// SPDX-License-Identifier: Apache-2.0
use std::ffi::OsString;
use std::io;

/// As Linux's own tools do it: the environment if set, else the file.
pub fn get() -> io::Result<OsString> {
    if let Some(name) = std::env::var_os("HOSTNAME").filter(|name| !name.is_empty()) {
        return Ok(name);
    }
    std::fs::read_to_string("/etc/hostname").map(|name| name.trim_end().into())
}

#[cfg(feature = "set")]
pub fn set(_: &std::ffi::OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
