// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::testing::Scratch;

fn workspace(packages: &str) -> Json {
    json::parse(&format!(r#"{{"workspace_members":["a","b"],"packages":[{packages}]}}"#)).unwrap()
}

fn package(id: &str, bins: &[&str], default_run: &str) -> String {
    let targets: Vec<String> = bins.iter().map(|b| format!(r#"{{"name":"{b}","kind":["bin"]}}"#)).collect();
    format!(
        r#"{{"id":"{id}","name":"{id}","manifest_path":"/ws/{id}/Cargo.toml","default_run":"{default_run}",
            "targets":[{{"name":"x","kind":["lib"]}},{}]}}"#,
        targets.join(",")
    )
}

fn choose(options: &Options, metadata: &Json, dir: &str) -> Result<String, String> {
    choose_bin(options, metadata, Path::new(dir)).map(|(package, bin)| format!("{package}/{bin}"))
}

#[test]
fn the_only_binary_of_the_folder_is_chosen() {
    let two = workspace(&[package("a", &["one"], ""), package("b", &["two"], "")].join(","));
    let options = Options { dir: "D".into(), ..Options::default() };
    assert_eq!(choose(&options, &two, "/ws/b"), Ok("b/two".into()));
    assert_eq!(choose(&options, &two, "/ws"), Err("D has several binaries; choose one with --bin: one, two".into()));
    let named = Options { bin: Some("one".into()), ..options.clone() };
    assert_eq!(choose(&named, &two, "/ws"), Ok("a/one".into()));
    assert_eq!(choose(&named, &two, "/ws/b"), Err("D has no binary named 'one'".into()));
    let by_package = Options { package: Some("b".into()), ..options };
    assert_eq!(choose(&by_package, &two, "/ws"), Ok("b/two".into()));
}

#[test]
fn default_run_decides_between_several_binaries() {
    let one = workspace(&package("a", &["crdgen", "operator"], "operator"));
    assert_eq!(choose(&Options::default(), &one, "/ws/a"), Ok("a/operator".into()));
    let named = Options { bin: Some("crdgen".into()), ..Options::default() };
    assert_eq!(choose(&named, &one, "/ws/a"), Ok("a/crdgen".into()));
}

#[test]
fn what_the_operators_profile_says_is_left_alone() {
    let scratch = Scratch::new();
    let manifest =
        "[profile.dev]\nlto = 1\n[profile.release] # ours\nopt-level = 3\nstrip=true\n[dependencies]\nlto = 2\n";
    fs::write(scratch.path().join("Cargo.toml"), manifest).unwrap();
    let configs = profile_configs(scratch.path(), "release");
    assert_eq!(configs, ["profile.release.lto=true", "profile.release.codegen-units=1"]);
}

#[test]
fn two_versions_of_a_crate_are_patched_under_two_names() {
    let patch = |version: &str| Patch {
        name: "tokio".into(),
        version: version.into(),
        label: format!("tokio {version}"),
        copy: format!("/c \"x\"/{version}").into(),
    };
    assert_eq!(
        patch_configs(&[patch("1.2.3"), patch("0.2.0+a")]),
        [
            "patch.crates-io.tokio-1-2-3.path=\"/c \\\"x\\\"/1.2.3\"",
            "patch.crates-io.tokio-1-2-3.package=\"tokio\"",
            "patch.crates-io.tokio-0-2-0-a.path=\"/c \\\"x\\\"/0.2.0+a\"",
            "patch.crates-io.tokio-0-2-0-a.package=\"tokio\"",
        ]
    );
}

#[test]
fn the_module_is_found_among_cargos_messages() {
    let messages = r#"not json
{"reason":"compiler-artifact","target":{"name":"dep"},"filenames":["/t/dep.wasm"]}
{"reason":"compiler-artifact","target":{"name":"op"},"filenames":["/t/op.d","/t/op.wasm"]}
{"reason":"build-finished"}"#;
    assert_eq!(artifact(messages, "op"), Some("/t/op.wasm".into()));
    assert_eq!(artifact(messages, "other"), None);
}

#[test]
fn a_crate_copy_is_reused_until_the_edits_change() {
    let scratch = Scratch::new();
    let dir = |name: &str| {
        let path = scratch.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let (registry, edits) = (dir("registry/demo"), dir("edits"));
    fs::write(registry.join("Cargo.toml"), "[package]\nname=\"demo\"\n").unwrap();
    fs::write(registry.join("lib.rs"), "old").unwrap();
    let metadata = json::parse(&format!(
        r#"{{"resolve":{{"nodes":[{{"id":"d"}}]}},"packages":[
            {{"id":"d","name":"demo","version":"1.0.0","source":"registry+x","manifest_path":"{}/Cargo.toml"}},
            {{"id":"unused","name":"demo","version":"2.0.0","source":"registry+x","manifest_path":"/nowhere/Cargo.toml"}}]}}"#,
        registry.display()
    ))
    .unwrap();
    let options =
        Options { cache: scratch.path().join("cache"), edits: edits.clone(), quiet: true, ..Options::default() };
    let with = |ours: &str| {
        let text = format!("@crate demo\n@file lib.rs\n@find\nold\n@replace\n{ours}\n@end\n");
        patch(&options, &[edit::parse("demo", &text).unwrap()], &metadata).unwrap().remove(0).copy
    };
    let first = with("new");
    assert_eq!(fs::read_to_string(first.join("lib.rs")).unwrap(), "new");
    fs::write(first.join("lib.rs"), "marked").unwrap();
    assert_eq!(fs::read_to_string(with("new").join("lib.rs")).unwrap(), "marked");
    assert_eq!(fs::read_to_string(with("newer").join("lib.rs")).unwrap(), "newer");
    assert_eq!(fs::read_to_string(registry.join("lib.rs")).unwrap(), "old");
}

#[test]
fn a_crate_that_the_operator_patched_itself_is_left_alone() {
    let metadata = json::parse(
        r#"{"resolve":{"nodes":[{"id":"d"}]},"packages":[
            {"id":"d","name":"demo","version":"1.0.0","source":null,"manifest_path":"/nowhere/Cargo.toml"}]}"#,
    )
    .unwrap();
    let edits = [edit::parse("demo", "@crate demo\n").unwrap()];
    let options = Options { quiet: true, ..Options::default() };
    assert!(patch(&options, &edits, &metadata).unwrap().is_empty());
}
