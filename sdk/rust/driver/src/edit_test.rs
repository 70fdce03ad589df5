// SPDX-License-Identifier: Apache-2.0
use super::*;
use crate::testing::Scratch;

const EDITS: &str = "// comment
@crate demo
@seen 1.2.3
@file src/lib.rs
@find
fn b() {
    2
@replace
fn b() {
    22
@end
@find
fn a
@before
// above a
@end
@find
fn c
@after
// below c
@end
@find-all
same
@replace
SAME
@end
@optional
@find
not there
@replace
never
@end
@new src/ours.rs whole.rs
@quiet src/ours.rs
@file Cargo.toml
@feature y = []
";

const LIB: &str = "fn a() {}\nfn b() {\n    2\n}\nfn c() {}\n// same same";

fn demo(lib: &str) -> Scratch {
    let scratch = Scratch::new();
    std::fs::create_dir(scratch.path().join("src")).unwrap();
    std::fs::write(scratch.path().join("src/lib.rs"), lib).unwrap();
    std::fs::write(scratch.path().join("Cargo.toml"), "[package]\nx\n[features]\ny = [\"z\"]\n").unwrap();
    std::fs::write(scratch.path().join("whole.rs"), "ours").unwrap();
    scratch
}

#[test]
fn applies_each_kind_of_change() {
    let scratch = demo(LIB);
    parse("demo.edit", EDITS).unwrap().apply("1.2.3", scratch.path(), scratch.path()).unwrap();
    let read = |name: &str| std::fs::read_to_string(scratch.path().join(name)).unwrap();
    assert_eq!(read("src/lib.rs"), "// above a\nfn a() {}\nfn b() {\n    22\n}\nfn c() {}\n// below c\n// SAME SAME");
    assert_eq!(read("src/ours.rs"), "#![allow(warnings)]\nours");
    assert_eq!(read("Cargo.toml"), "[package]\nx\n[features]\ny = []\n");
}

#[test]
fn a_missing_anchor_names_crate_version_file_and_anchor() {
    let scratch = demo(&LIB.replace("fn b", "fn bee"));
    let error = parse("demo.edit", EDITS).unwrap().apply("1.3.0", scratch.path(), scratch.path()).unwrap_err();
    assert_eq!(
        error.0,
        "demo 1.3.0: in src/lib.rs the anchor 'fn b() {' is not there; the edits were made for demo 1.2.3"
    );
}

#[test]
fn an_anchor_that_occurs_twice_is_refused() {
    let scratch = demo(&format!("{LIB}\nfn c() {{}}"));
    let error = parse("demo.edit", EDITS).unwrap().apply("1.2.3", scratch.path(), scratch.path()).unwrap_err();
    assert_eq!(error.0, "demo 1.2.3: in src/lib.rs the anchor 'fn c' is there 2 times");
}

#[test]
fn an_optional_anchor_may_be_missing_but_not_ambiguous() {
    let scratch = demo(&format!("{LIB}\nnot there not there"));
    let error = parse("demo.edit", EDITS).unwrap().apply("1.2.3", scratch.path(), scratch.path()).unwrap_err();
    assert!(error.0.ends_with("'not there' is there 2 times"), "{error}");
}

#[test]
fn a_folder_is_edited_file_by_file_and_must_hold_the_anchor_somewhere() {
    let scratch = demo(LIB);
    std::fs::write(scratch.path().join("src/other.rs"), "same").unwrap();
    let text = "@crate demo\n@file src\n@find-all\nsame\n@replace\nSAME\n@end\n";
    parse("x", text).unwrap().apply("1", scratch.path(), scratch.path()).unwrap();
    assert_eq!(std::fs::read_to_string(scratch.path().join("src/other.rs")).unwrap(), "SAME");
    let error = parse("x", text).unwrap().apply("1", scratch.path(), scratch.path()).unwrap_err();
    assert_eq!(error.0, "demo 1: in src the anchor 'same' is not there");
}

#[test]
fn features_are_replaced_or_added() {
    let toml = "[package]\nx\n\n[features]\na = [\n    \"b\",\n    \"c\",\n]\nab = [\"d\"]\n\n[dependencies]\na = 1\n";
    let set = |name: &str| set_feature(toml, name, "[]").unwrap();
    assert_eq!(set("a"), "[package]\nx\n\n[features]\na = []\nab = [\"d\"]\n\n[dependencies]\na = 1\n");
    assert_eq!(set("ab"), toml.replace("a = [\n", "ab = []\na = [\n").replace("ab = [\"d\"]\n", ""));
    assert_eq!(set("new"), toml.replace("a = [\n", "new = []\na = [\n"));
    assert_eq!(set_feature("[package]\n", "a", "[]"), None);
}

#[test]
fn broken_edit_files_say_where() {
    for (text, said) in [
        ("@crate d\n@find\nx\n", "e:2: @find without a @file before it"),
        ("@crate d\n@file f\n@find\nx\n", "e:3: @find is never ended"),
        ("@crate d\n@file f\n@find\nx\n@replace\ny\n", "e:3: the edit has no @end"),
        ("@crate d\n@file f\n@find\n@replace\ny\n@end\n", "e:3: the anchor is empty"),
        ("@crate d\n@file f\n@find\nx\n@swap\ny\n@end\n", "e:3: '@swap' cannot follow @find"),
        ("@crate d\nstray\n", "e:2: expected a directive such as @file or @find, found 'stray'"),
        ("@crate d\n@frob\n", "e:2: unknown directive '@frob'"),
        ("@file f\n", "e: no @crate line"),
    ] {
        assert_eq!(parse("e", text).unwrap_err().0, said);
    }
}

#[test]
fn every_edit_file_of_ours_can_be_read_and_its_whole_files_exist() {
    // Of now, not of when this was compiled: cargo takes a test program over from another checkout that shares its target folder.
    let dir = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap()).join("../edits");
    let mut seen = 0;
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "edit") {
            let edits = parse(&path.to_string_lossy(), &std::fs::read_to_string(&path).unwrap()).unwrap();
            assert!(!edits.seen.is_empty(), "{} has no @seen", path.display());
            for step in &edits.steps {
                if let Step::New { source, .. } = step {
                    assert!(dir.join(source).is_file(), "{source}");
                }
            }
            seen += 1;
        }
    }
    assert!(seen >= 4);
}
