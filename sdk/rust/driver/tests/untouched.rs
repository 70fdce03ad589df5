// SPDX-License-Identifier: Apache-2.0
//! The driver, run as `dormouse build` runs it, never changes the tree it builds.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::SystemTime;

type Tree = BTreeMap<PathBuf, (SystemTime, Vec<u8>)>;

fn tree(dir: &Path) -> Tree {
    fn walk(dir: &Path, found: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                found.insert(path.clone(), (meta.modified().unwrap(), Vec::new()));
                walk(&path, found);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.insert(path, (meta.modified().unwrap(), bytes));
            }
        }
    }
    let mut found = Tree::new();
    walk(dir, &mut found);
    found
}

fn driver(dir: &Path, out: &Path, cache: Option<&Path>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_driver"));
    command.args(["build", "--dir"]).arg(dir).arg("--out").arg(out);
    if let Some(cache) = cache {
        command.env("DORMOUSE_CACHE", cache);
    }
    command.output().unwrap()
}

struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dormouse-untouched-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program without dependencies and without a Cargo.lock, which uses a file beside its sources and a crate outside
/// its own folder.
fn small_operator(scratch: &Path) -> PathBuf {
    let op = scratch.join("op");
    for dir in [op.join("src"), scratch.join("common/src")] {
        fs::create_dir_all(dir).unwrap();
    }
    let manifest = |name: &str, more: &str| {
        format!("[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}\n[workspace]\n")
    };
    fs::write(op.join("Cargo.toml"), manifest("op", "[dependencies]\ncommon = { path = \"../common\" }")).unwrap();
    fs::write(op.join("text"), "hi").unwrap();
    fs::write(op.join("src/main.rs"), "fn main() { println!(\"{}{}\", include_str!(\"../text\"), common::f()); }")
        .unwrap();
    fs::write(scratch.join("common/Cargo.toml"), manifest("common", "").replace("[workspace]\n", "")).unwrap();
    fs::write(scratch.join("common/src/lib.rs"), "pub fn f() -> u32 { 7 }").unwrap();
    op
}

#[test]
fn building_a_tree_without_a_lock_file_leaves_it_byte_identical() {
    let scratch = Scratch::new("small");
    let op = small_operator(&scratch.0);
    let before = tree(&op);
    let module = scratch.0.join("op.wasm");
    for round in 0..2 {
        let out = driver(&op, &module, Some(&scratch.0.join("cache")));
        assert!(out.status.success(), "round {round}: {}", String::from_utf8_lossy(&out.stderr));
        assert_eq!(&fs::read(&module).unwrap()[..4], b"\0asm");
    }
    assert!(before == tree(&op), "the tree has changed");
    fs::write(op.join("src/main.rs"), "fn main() { println!(\"changed\"); }").unwrap();
    let old = fs::read(&module).unwrap();
    assert!(driver(&op, &module, Some(&scratch.0.join("cache"))).status.success());
    assert!(old != fs::read(&module).unwrap(), "a change in the tree was not built");
}

#[test]
fn what_cannot_be_built_is_one_clear_sentence() {
    let scratch = Scratch::new("bad");
    let (cache, out) = (scratch.0.join("cache"), scratch.0.join("x.wasm"));
    let fails = |dir: &Path| {
        let output = driver(dir, &out, Some(&cache));
        assert!(!output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let text = fails(&scratch.0.join("nowhere"));
    assert!(text.starts_with("error: cannot open ") && text.contains("nowhere"), "{text}");
    let text = fails(&scratch.0);
    assert!(text.trim_end().ends_with("has no Cargo.toml"), "{text}");
    let op = small_operator(&scratch.0);
    fs::write(op.join("src/main.rs"), "fn main() { broken").unwrap();
    let text = fails(&op);
    assert!(
        text.trim_end().ends_with("error: cargo could not build the operator for a guest (its messages are above)"),
        "{text}"
    );
    assert!(!out.exists());

    // A crate by the name of one that binds C code, with a build script that fails as its own would.
    fs::write(op.join("src/main.rs"), "fn main() {}").unwrap();
    let common = scratch.0.join("common/Cargo.toml");
    fs::write(&common, fs::read_to_string(&common).unwrap().replace("\"common\"", "\"ring\"")).unwrap();
    fs::write(scratch.0.join("common/build.rs"), "fn main() { std::process::exit(1) }").unwrap();
    let manifest = fs::read_to_string(op.join("Cargo.toml")).unwrap();
    fs::write(op.join("Cargo.toml"), manifest.replace("common = { ", "common = { package = \"ring\", ")).unwrap();
    let text = fails(&op);
    assert!(text.contains("\nring needs C code that a guest cannot use (it comes through op)"), "{text}");
}

#[test]
#[ignore = "compiles rust-greeter: some minutes the first time, seconds with a warm cache"]
fn building_the_plain_kube_rs_greeter_leaves_its_tree_byte_identical() {
    let scratch = Scratch::new("greeter");
    let greeter = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../../../examples/rust-greeter");
    let before = tree(&greeter);
    let module = scratch.0.join("rust-greeter.wasm");
    let out = driver(&greeter, &module, None);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(before == tree(&greeter), "the tree has changed");
    assert!(fs::metadata(&module).unwrap().len() < 5_000_000);
}
