// SPDX-License-Identifier: Apache-2.0
//! A shadow of the operator's source tree, in which cargo may write a Cargo.lock of its own.
//!
//! The shadow of `/home/me/op` is `SHADOW/home/me/op`: real folders on the way down, symbolic links for everything
//! else. So relative paths out of the tree (`path = "../common"`) and cargo's search for `.cargo/config.toml` in the
//! folders above find the same files as in the real tree, and the real tree is never written to.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Files of the root that cargo writes: never links.
const NOT_LINKED: [&str; 2] = ["Cargo.lock", "target"];

/// Lays the shadow of the workspace at `root` (absolute) anew below `base`; yields the shadow's root.
pub fn lay(base: &Path, root: &Path) -> io::Result<PathBuf> {
    if base.exists() {
        fs::remove_dir_all(base)?; // Removes links, does not follow them.
    }
    let mut shadow = base.to_path_buf();
    let mut real = PathBuf::from("/");
    let names: Vec<_> = root.iter().skip(1).map(ToOwned::to_owned).collect();
    for name in &names {
        fs::create_dir_all(&shadow)?;
        link_entries(&real, &shadow, &|entry| entry == name)?;
        shadow.push(name);
        real.push(name);
    }
    fs::create_dir_all(&shadow)?;
    link_entries(&real, &shadow, &|entry| NOT_LINKED.iter().any(|n| entry == *n))?;
    Ok(shadow)
}

fn link_entries(real: &Path, shadow: &Path, skip: &dyn Fn(&std::ffi::OsStr) -> bool) -> io::Result<()> {
    // A folder above the tree may be unreadable to us; then nothing in it is of use to cargo either.
    let Ok(entries) = fs::read_dir(real) else { return Ok(()) };
    for entry in entries {
        let name = entry?.file_name();
        if !skip(&name) {
            symlink(real.join(&name), shadow.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Scratch;

    #[test]
    fn shows_the_tree_and_its_neighbours_but_keeps_the_lock_file_to_itself() {
        let scratch = Scratch::new();
        let (ws, base) = (scratch.path().join("a/ws"), scratch.path().join("shadow"));
        fs::create_dir_all(ws.join("src")).unwrap();
        fs::create_dir_all(scratch.path().join("a/common")).unwrap();
        fs::write(scratch.path().join("a/common/lib.rs"), "x").unwrap();
        fs::write(ws.join("src/main.rs"), "m").unwrap();
        fs::write(ws.join("Cargo.lock"), "real").unwrap();
        for _ in 0..2 {
            let shadow = lay(&base, &ws).unwrap();
            assert_eq!(fs::read_to_string(shadow.join("src/main.rs")).unwrap(), "m");
            assert_eq!(fs::read_to_string(shadow.join("../common/lib.rs")).unwrap(), "x");
            assert!(!shadow.join("Cargo.lock").exists());
            fs::write(shadow.join("Cargo.lock"), "patched").unwrap();
        }
        assert_eq!(fs::read_to_string(ws.join("Cargo.lock")).unwrap(), "real");
        assert_eq!(fs::read_to_string(ws.join("src/main.rs")).unwrap(), "m");
    }
}
