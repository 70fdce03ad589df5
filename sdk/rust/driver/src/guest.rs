// SPDX-License-Identifier: Apache-2.0
//! From an operator's source tree to a guest module.

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::edit::{self, EditFile};
use crate::json::{self, Json};
use crate::{digest, shadow};

const TARGET: &str = "wasm32-wasip1";
/// Crates that bind C libraries for TLS. A guest needs none: the host speaks TLS.
const NATIVE_TLS: [&str; 4] = ["ring", "aws-lc-sys", "openssl-sys", "native-tls"];

#[derive(Debug, Clone)]
pub struct Options {
    pub dir: PathBuf,
    pub out: PathBuf,
    pub edits: PathBuf,
    pub cache: PathBuf,
    pub package: Option<String>,
    pub bin: Option<String>,
    pub profile: String,
    pub cargo_flags: Vec<String>,
    pub quiet: bool,
    /// Stop once the edited crates are in the cache.
    pub only_edits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            dir: PathBuf::new(),
            out: PathBuf::new(),
            edits: PathBuf::new(),
            cache: PathBuf::new(),
            package: None,
            bin: None,
            profile: "release".into(),
            cargo_flags: Vec::new(),
            quiet: false,
            only_edits: false,
        }
    }
}

impl Options {
    fn say(&self, what: &str, text: &str) {
        if !self.quiet {
            eprintln!("{what:>10}  {text}");
        }
    }
}

fn cargo(dir: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Runs a command whose standard output we want; its complaints become our error.
fn output(mut command: Command, doing: &str) -> Result<String, String> {
    let out = command.output().map_err(|e| match e.kind() {
        ErrorKind::NotFound => "cargo is not installed: install Rust with rustup, or put cargo on PATH".to_string(),
        _ => format!("{doing}: {e}"),
    })?;
    if out.status.success() {
        return String::from_utf8(out.stdout).map_err(|_| format!("{doing}: cargo printed invalid UTF-8"));
    }
    Err(format!("{doing}:\n{}", String::from_utf8_lossy(&out.stderr).trim_end()))
}

pub fn build(options: &Options) -> Result<(), String> {
    let started = Instant::now();
    let dir = options.dir.canonicalize().map_err(|e| format!("cannot open {}: {e}", options.dir.display()))?;
    if !dir.join("Cargo.toml").is_file() {
        return Err(format!("{} has no Cargo.toml", dir.display()));
    }
    require_target(&dir)?;
    let mut locate = cargo(&dir);
    locate.args(["locate-project", "--workspace", "--message-format", "plain"]);
    let manifest = output(locate, "looking for the workspace")?;
    let root = Path::new(manifest.trim()).parent().ok_or("cargo named no workspace")?.to_path_buf();
    let inside = dir
        .strip_prefix(&root)
        .map_err(|_| format!("the workspace {} does not contain {}", root.display(), dir.display()))?;

    // The shadow belongs to this tree and is laid anew; one build of a tree at a time.
    let edits = read_edits(&options.edits)?;
    let key = digest(&[root.as_os_str().as_encoded_bytes().to_vec()]);
    let base = options.cache.join("shadow").join(&key);
    let _only_one = lock(&options.cache.join("shadow").join(format!("{key}.lock")))?;
    let shadow_root = shadow::lay(&base, &root)
        .map_err(|e| format!("cannot lay a shadow of {} in the cache: {e}", root.display()))?;
    let shadow_dir = shadow_root.join(inside);
    let lock = shadow_root.join("Cargo.lock");
    let operators_lock = fs::read(root.join("Cargo.lock")).unwrap_or_default();
    if !operators_lock.is_empty() {
        fs::write(&lock, &operators_lock).map_err(|e| format!("cannot write {}: {e}", lock.display()))?;
    }

    let metadata = metadata(&shadow_dir, &options.cargo_flags, &[])?;
    let (package, bin) = choose_bin(options, &metadata, &shadow_dir)?;
    let patches = patch(options, &edits, &metadata)?;
    let named: Vec<&str> = patches.iter().map(|p| p.label.as_str()).collect();
    options.say("edits", &if named.is_empty() { "none needed".into() } else { named.join(", ") });
    if options.only_edits {
        return Ok(());
    }

    // Cargo resolved with the patches before: start from that result, so nothing can move and no index is asked.
    let patch_keys: String = patches.iter().map(|p| p.label.as_str()).collect::<Vec<_>>().join(",");
    let lock_key = digest(&[operators_lock.clone(), patch_keys.into_bytes()]);
    let kept_lock = options.cache.join("shadow").join(format!("{key}-{lock_key}.Cargo.lock"));
    if !operators_lock.is_empty() && kept_lock.is_file() {
        fs::copy(&kept_lock, &lock).map_err(|e| format!("cannot copy {}: {e}", kept_lock.display()))?;
    }

    let target_dir = options.cache.join("target");
    let mut command = cargo(&shadow_dir);
    command.args(["build", "--target", TARGET, "--profile", &options.profile, "--package", &package, "--bin", &bin]);
    command.args(&options.cargo_flags);
    command.arg("--target-dir").arg(&target_dir);
    for config in patch_configs(&patches) {
        command.arg("--config").arg(config);
    }
    for config in profile_configs(&root, &options.profile) {
        command.arg("--config").arg(config);
    }
    command.args(["--message-format", "json-render-diagnostics"]);
    if options.quiet {
        command.arg("--quiet");
    }
    command.stderr(Stdio::inherit()).stdout(Stdio::piped());
    options.say("cargo", &format!("build --target {TARGET} --bin {bin} (the first time takes a few minutes)"));
    let out = command.spawn().and_then(|child| child.wait_with_output()).map_err(|e| format!("running cargo: {e}"))?;
    if !out.status.success() {
        return Err(explain_failure(&shadow_dir, &options.cargo_flags, &patches));
    }
    let _ = fs::copy(&lock, &kept_lock); // Only a short cut for the next time.

    let module = artifact(&String::from_utf8_lossy(&out.stdout), &bin)
        .ok_or_else(|| format!("cargo built no module for the binary '{bin}'"))?;
    let bytes = place(&module, &options.out)?;
    options.say(
        "guest",
        &format!("{} ({:.1} MB, {:.0} s)", options.out.display(), bytes as f64 / 1e6, started.elapsed().as_secs_f64()),
    );
    Ok(())
}

/// One build at a time: waits for another driver that builds the same tree. Held until dropped.
fn lock(path: &Path) -> Result<fs::File, String> {
    let open = || {
        fs::create_dir_all(path.parent().expect("a file in the cache"))?;
        let file = fs::File::create(path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|e: std::io::Error| format!("cannot lock {}: {e}", path.display()))
}

/// Fails with one sentence if the wasm target is not installed for the toolchain that `dir` selects.
fn require_target(dir: &Path) -> Result<(), String> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(dir).args(["--print", "target-libdir", "--target", TARGET]);
    let libdir = output(command, "asking rustc for its wasm target")?;
    let has_core = fs::read_dir(libdir.trim()).is_ok_and(|mut entries| {
        entries.any(|e| e.is_ok_and(|e| e.file_name().to_string_lossy().starts_with("libcore-")))
    });
    if has_core {
        Ok(())
    } else {
        Err(format!("Rust's {TARGET} target is not installed: run 'rustup target add {TARGET}'"))
    }
}

fn metadata(dir: &Path, flags: &[String], configs: &[String]) -> Result<Json, String> {
    let mut command = cargo(dir);
    command.args(["metadata", "--format-version", "1", "--filter-platform", TARGET]).args(flags);
    for config in configs {
        command.arg("--config").arg(config);
    }
    let text = output(command, "resolving the operator's dependencies")?;
    json::parse(&text).map_err(|at| format!("cargo metadata printed JSON that breaks off at byte {at}"))
}

/// The package and binary to build: the one asked for, or the only one there is.
fn choose_bin(options: &Options, metadata: &Json, dir: &Path) -> Result<(String, String), String> {
    let members: BTreeSet<&str> = metadata.get("workspace_members").list().iter().map(Json::text).collect();
    let here = dir.join("Cargo.toml");
    let packages: Vec<&Json> =
        metadata.get("packages").list().iter().filter(|p| members.contains(p.get("id").text())).collect();
    let own: Vec<&Json> =
        packages.iter().copied().filter(|p| Path::new(p.get("manifest_path").text()) == here).collect();
    let candidates = match &options.package {
        Some(name) => packages.into_iter().filter(|p| p.get("name").text() == name).collect(),
        None if own.is_empty() => packages,
        None => own,
    };
    let mut bins = Vec::new();
    for package in &candidates {
        let name = package.get("name").text();
        let default = package.get("default_run").text();
        for target in package.get("targets").list() {
            let bin = target.get("name").text();
            let is_bin = target.get("kind").list().iter().any(|k| k.text() == "bin");
            let wanted = options.bin.as_deref().map_or(default.is_empty() || default == bin, |b| b == bin);
            if is_bin && wanted {
                bins.push((name.to_string(), bin.to_string()));
            }
        }
    }
    match bins.len() {
        1 => Ok(bins.remove(0)),
        0 => Err(format!(
            "{} has no binary{}",
            dir_name(options),
            options.bin.as_ref().map_or(String::new(), |b| format!(" named '{b}'"))
        )),
        _ => {
            let names: Vec<&str> = bins.iter().map(|b| b.1.as_str()).collect();
            Err(format!("{} has several binaries; choose one with --bin: {}", dir_name(options), names.join(", ")))
        }
    }
}

fn dir_name(options: &Options) -> String {
    options.dir.display().to_string()
}

fn read_edits(dir: &Path) -> Result<Vec<EditFile>, String> {
    let mut found = Vec::new();
    let entries = fs::read_dir(dir).map_err(|e| format!("cannot read the edits in {}: {e}", dir.display()))?;
    for entry in entries {
        let path = entry.map_err(|e| e.to_string())?.path();
        if path.extension().is_some_and(|e| e == "edit") {
            let text = fs::read_to_string(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
            found.push(edit::parse(&path.display().to_string(), &text).map_err(|e| e.0)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

struct Patch {
    name: String,
    version: String,
    label: String,
    copy: PathBuf,
}

/// Makes the edited copy of each crate that has edits and is in the operator's resolution.
fn patch(options: &Options, edits: &[EditFile], metadata: &Json) -> Result<Vec<Patch>, String> {
    let used: BTreeSet<&str> = metadata.get("resolve").get("nodes").list().iter().map(|n| n.get("id").text()).collect();
    let mut patches = Vec::new();
    for package in metadata.get("packages").list() {
        let (name, version) = (package.get("name").text(), package.get("version").text());
        let Some(edit) = edits.iter().find(|e| e.name == name) else { continue };
        if !used.contains(package.get("id").text()) {
            continue;
        }
        if !package.get("source").text().starts_with("registry+") {
            options.say("note", &format!("{name} {version} is the operator's own copy: left as it is"));
            continue;
        }
        let from = Path::new(package.get("manifest_path").text()).parent().ok_or("a crate without a folder")?;
        let copy = options
            .cache
            .join("crates")
            .join(format!("{name}-{version}-{}", edit.digest(&options.edits).map_err(|e| e.0)?));
        if !copy.join("Cargo.toml").is_file() {
            let fresh = options.cache.join("crates").join(format!(".{name}-{version}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&fresh);
            copy_tree(from, &fresh).map_err(|e| format!("cannot copy {name} {version} into the cache: {e}"))?;
            edit.apply(version, &fresh, &options.edits).map_err(|e| e.0)?;
            if let Err(error) = fs::rename(&fresh, &copy) {
                let _ = fs::remove_dir_all(&fresh);
                if !copy.join("Cargo.toml").is_file() {
                    return Err(format!("cannot put {name} {version} into the cache: {error}"));
                }
            }
        }
        patches.push(Patch { name: name.into(), version: version.into(), label: format!("{name} {version}"), copy });
    }
    patches.sort_by(|a, b| a.label.cmp(&b.label));
    Ok(patches)
}

/// Copies what is needed to build the crate; its own Cargo.lock, tests and benchmarks are not.
fn copy_tree(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == "Cargo.lock" || name.to_string_lossy().starts_with(".cargo") {
            continue;
        }
        let target = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?; // Not the mode: the registry's files may be read-only.
        }
    }
    Ok(())
}

fn toml_text(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn patch_configs(patches: &[Patch]) -> Vec<String> {
    let mut configs = Vec::new();
    for patch in patches {
        // Two versions of one crate need two names; cargo takes any name that says which package it stands for.
        let key = format!("{}-{}", patch.name, patch.version.replace(['.', '+'], "-"));
        configs.push(format!("patch.crates-io.{key}.path={}", toml_text(&patch.copy.to_string_lossy())));
        configs.push(format!("patch.crates-io.{key}.package={}", toml_text(&patch.name)));
    }
    configs
}

/// Makes the module small and keeps function names for backtraces, except where the operator's profile says otherwise.
fn profile_configs(root: &Path, profile: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap_or_default();
    let said = profile_keys(&manifest, profile);
    [("opt-level", "\"s\""), ("lto", "true"), ("codegen-units", "1"), ("strip", "\"debuginfo\"")]
        .iter()
        .filter(|(key, _)| !said.contains(*key))
        .filter(|(key, _)| {
            let name = format!("CARGO_PROFILE_{}_{}", profile, key).to_uppercase().replace('-', "_");
            std::env::var_os(name).is_none()
        })
        .map(|(key, value)| format!("profile.{profile}.{key}={value}"))
        .collect()
}

fn profile_keys(manifest: &str, profile: &str) -> BTreeSet<String> {
    let header = format!("[profile.{profile}]");
    let mut keys = BTreeSet::new();
    let mut inside = false;
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            inside = line.split('#').next().unwrap_or("").trim() == header;
        } else if let (true, Some((key, _))) = (inside, line.split_once('=')) {
            keys.insert(key.trim().to_string());
        }
    }
    keys
}

/// The module among the artifacts that cargo reports, one JSON object a line.
fn artifact(messages: &str, bin: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| json::parse(line).ok())
        .filter(|m| m.get("reason").text() == "compiler-artifact" && m.get("target").get("name").text() == bin)
        .flat_map(|m| m.get("filenames").list().iter().map(|f| PathBuf::from(f.text())).collect::<Vec<_>>())
        .find(|f| f.extension().is_some_and(|e| e == "wasm"))
}

/// Writes the module beside its destination first, so that nobody ever sees half of one.
fn place(module: &Path, out: &Path) -> Result<u64, String> {
    let partial = out.with_extension(format!("wasm.{}", std::process::id()));
    if let Some(parent) = out.parent().filter(|p| !p.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| format!("cannot make {}: {e}", parent.display()))?;
    }
    let bytes = fs::read(module).map_err(|e| format!("cannot read {}: {e}", module.display()))?;
    fs::write(&partial, &bytes).and_then(|()| fs::rename(&partial, out)).map_err(|e| {
        let _ = fs::remove_file(&partial);
        format!("cannot write {}: {e}", out.display())
    })?;
    Ok(bytes.len() as u64)
}

/// Cargo has said what failed; we add what we know about crates that cannot work in a guest.
fn explain_failure(dir: &Path, flags: &[String], patches: &[Patch]) -> String {
    let mut text = "cargo could not build the operator for a guest (its messages are above)".to_string();
    for name in NATIVE_TLS {
        // Not `cargo metadata`, which also lists optional crates that no feature turns on.
        let mut command = cargo(dir);
        command.args(["tree", "--target", TARGET, "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
        command.args(["--invert", name]).args(flags);
        for config in patch_configs(patches) {
            command.arg("--config").arg(config);
        }
        // One line a crate, from the one in question to the operator; nothing if it is not used.
        let Ok(tree) = output(command, "asking for the users of a crate") else { continue };
        let users: Vec<&str> = tree.lines().skip(1).filter_map(|l| l.split(' ').next()).take(4).collect();
        if !users.is_empty() {
            text += &format!(
                "\n{name} needs C code that a guest cannot use (it comes through {}): TLS is the host's, so connect by plain TCP or drop that feature",
                users.join(", ")
            );
        }
    }
    text
}

#[cfg(test)]
#[path = "guest_test.rs"]
mod guest_test;
