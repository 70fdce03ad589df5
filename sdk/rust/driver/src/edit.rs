// SPDX-License-Identifier: Apache-2.0
//! Edits: how we change a crate without keeping any of its text.
//!
//! An edit file names short anchors that must occur in the crate's source and says what of ours goes there. A crate
//! version that no longer has an anchor is an error that names the anchor, never a silently unpatched build.
//!
//! ```text
//! @crate tokio
//! @seen 1.54.1                    the version the edits were last checked with (only a hint for error messages)
//! @file src/lib.rs                the file, or a folder (its .rs files), that the following edits are about
//! @find                           the anchor, one line or several; must occur exactly once
//! ...
//! @replace | @after | @before     replaces the anchor, or adds lines below or above the lines it is on
//! ...
//! @end
//! @find-all                       as @find, but may occur any number of times above zero; only with @replace
//! @optional                       before a @find: the edit may be left out where the anchor is missing
//! @new src/net/wasi.rs tokio/net.rs   a whole file of ours: where it goes, and its name beside the edit file
//! @feature name = []              sets a feature of the manifest, or adds it
//! @quiet src/lib.rs               no warnings from the crate whose root this is: cargo shows those of path crates
//! ```

use std::fmt;
use std::path::{Path, PathBuf};

#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    Replace(String),
    After(String),
    Before(String),
    ReplaceAll(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Edit { path: String, anchor: String, change: Change, optional: bool },
    New { path: String, source: String },
    Feature { path: String, name: String, value: String },
    Quiet { path: String },
}

#[derive(Debug, Clone, PartialEq)]
pub struct EditFile {
    pub name: String,
    pub seen: String,
    pub steps: Vec<Step>,
    text: String,
}

/// Why an edit file could not be read or applied: one sentence.
#[derive(Debug, Clone, PartialEq)]
pub struct Error(pub String);

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for Error {}

fn fail<T>(text: String) -> Result<T, Error> {
    Err(Error(text))
}

/// Reads the text of an edit file. `origin` is its name for error messages.
pub fn parse(origin: &str, text: &str) -> Result<EditFile, Error> {
    let mut file = EditFile { name: String::new(), seen: String::new(), steps: Vec::new(), text: text.to_string() };
    let mut path = String::new();
    let mut optional = false;
    let mut lines = text.lines().enumerate().peekable();
    while let Some((index, line)) = lines.next() {
        let at = index + 1;
        if line.trim().is_empty() || line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        let Some(directive) = line.strip_prefix('@') else {
            return fail(format!("{origin}:{at}: expected a directive such as @file or @find, found '{line}'"));
        };
        let (word, rest) = directive.split_once(' ').unwrap_or((directive, ""));
        let rest = rest.trim();
        match word {
            "crate" => file.name = rest.to_string(),
            "seen" => file.seen = rest.to_string(),
            "file" => path = rest.to_string(),
            "optional" => optional = true,
            "new" => match rest.split_once(' ') {
                Some((to, from)) => file.steps.push(Step::New { path: to.trim().into(), source: from.trim().into() }),
                None => return fail(format!("{origin}:{at}: @new needs two names")),
            },
            "feature" => match rest.split_once('=') {
                Some((name, value)) if !path.is_empty() => file.steps.push(Step::Feature {
                    path: path.clone(),
                    name: name.trim().into(),
                    value: value.trim().into(),
                }),
                _ => return fail(format!("{origin}:{at}: @feature needs a @file before it and NAME = [...]")),
            },
            "quiet" => file.steps.push(Step::Quiet { path: rest.to_string() }),
            "find" | "find-all" => {
                if path.is_empty() {
                    return fail(format!("{origin}:{at}: @{word} without a @file before it"));
                }
                let mut anchor: Vec<&str> = Vec::new();
                let kind = loop {
                    match lines.next() {
                        Some((_, l)) if l.starts_with('@') => break l[1..].trim(),
                        Some((_, l)) => anchor.push(l),
                        None => return fail(format!("{origin}:{at}: @{word} is never ended")),
                    }
                };
                let mut ours: Vec<&str> = Vec::new();
                loop {
                    match lines.next() {
                        Some((_, l)) if l.trim_end() == "@end" => break,
                        Some((_, l)) => ours.push(l),
                        None => return fail(format!("{origin}:{at}: the edit has no @end")),
                    }
                }
                let anchor = anchor.join("\n");
                if anchor.trim().is_empty() {
                    return fail(format!("{origin}:{at}: the anchor is empty"));
                }
                let ours = ours.join("\n");
                let change = match (word, kind) {
                    ("find", "replace") => Change::Replace(ours),
                    ("find", "after") => Change::After(ours),
                    ("find", "before") => Change::Before(ours),
                    ("find-all", "replace") => Change::ReplaceAll(ours),
                    _ => return fail(format!("{origin}:{at}: '@{kind}' cannot follow @{word}")),
                };
                file.steps.push(Step::Edit { path: path.clone(), anchor, change, optional });
                optional = false;
            }
            _ => return fail(format!("{origin}:{at}: unknown directive '@{word}'")),
        }
    }
    if file.name.is_empty() {
        return fail(format!("{origin}: no @crate line"));
    }
    Ok(file)
}

/// Applies one change to a text. None: the anchor does not occur as often as it must; the count is given.
fn apply_text(text: &str, anchor: &str, change: &Change) -> Result<String, usize> {
    let count = text.matches(anchor).count();
    if let Change::ReplaceAll(ours) = change {
        return if count > 0 { Ok(text.replace(anchor, ours)) } else { Err(0) };
    }
    if count != 1 {
        return Err(count);
    }
    let start = text.find(anchor).expect("counted above");
    let end = start + anchor.len();
    Ok(match change {
        Change::Replace(ours) => format!("{}{}{}", &text[..start], ours, &text[end..]),
        Change::After(ours) => {
            let line_end = text[end..].find('\n').map_or(text.len(), |i| end + i + 1);
            let gap = if text[..line_end].ends_with('\n') { "" } else { "\n" };
            format!("{}{}{}\n{}", &text[..line_end], gap, ours, &text[line_end..])
        }
        Change::Before(ours) => {
            let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
            format!("{}{}\n{}", &text[..line_start], ours, &text[line_start..])
        }
        Change::ReplaceAll(_) => unreachable!("handled above"),
    })
}

/// Sets a feature in the text of a manifest. None: it has no `[features]`.
fn set_feature(text: &str, name: &str, value: &str) -> Option<String> {
    let header = "\n[features]\n";
    let start = text.find(header)? + header.len();
    let end = text[start..].find("\n[").map_or(text.len(), |i| start + i + 1);
    let mut features = String::new();
    let mut inside = false;
    for line in text[start..end].split_inclusive('\n') {
        inside = inside || line.split_once('=').is_some_and(|(key, _)| key.trim().trim_matches('"') == name);
        if !inside {
            features.push_str(line);
        }
        inside = inside && !line.trim_end().ends_with(']');
    }
    Some(format!("{}{name} = {value}\n{features}{}", &text[..start], &text[end..]))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(())
}

impl EditFile {
    /// A name for this state of the edits: changes with the edit file or a file of ours that it puts in.
    pub fn digest(&self, ours: &Path) -> Result<String, Error> {
        let mut parts = vec![self.text.clone().into_bytes()];
        for step in &self.steps {
            if let Step::New { source, .. } = step {
                let path = ours.join(source);
                let bytes = std::fs::read(&path);
                parts.push(bytes.map_err(|e| Error(format!("cannot read {}: {e}", path.display())))?);
            }
        }
        Ok(crate::digest(&parts))
    }

    /// Applies every step to the copy of the crate at `dir`. `ours` is the folder that holds whole files of ours.
    pub fn apply(&self, version: &str, dir: &Path, ours: &Path) -> Result<(), Error> {
        let who = format!("{} {}", self.name, version);
        let hint = if self.seen.is_empty() || self.seen == version {
            String::new()
        } else {
            format!("; the edits were made for {} {}", self.name, self.seen)
        };
        for step in &self.steps {
            match step {
                Step::New { path, source } => {
                    let from = ours.join(source);
                    let to = dir.join(path);
                    std::fs::copy(&from, &to)
                        .map_err(|e| Error(format!("{who}: cannot put {} in as {path}: {e}", from.display())))?;
                }
                Step::Feature { path, name, value } => {
                    let file = dir.join(path);
                    let text = read(&file, &who, path, &hint)?;
                    let edited = set_feature(&text, name, value)
                        .ok_or_else(|| Error(format!("{who}: {path} has no [features] section{hint}")))?;
                    write(&file, &edited, &who)?;
                }
                Step::Quiet { path } => {
                    let file = dir.join(path);
                    let text = read(&file, &who, path, &hint)?;
                    write(&file, &format!("#![allow(warnings)]\n{text}"), &who)?;
                }
                Step::Edit { path, anchor, change, optional } => {
                    let target = dir.join(path);
                    let mut files = Vec::new();
                    if target.is_dir() {
                        rust_files(&target, &mut files)
                            .map_err(|e| Error(format!("{who}: cannot list {path}: {e}")))?;
                    } else if target.is_file() || !optional {
                        files.push(target.clone());
                    }
                    let (mut done, mut count) = (false, 0);
                    for file in files {
                        let text = read(&file, &who, path, &hint)?;
                        match apply_text(&text, anchor, change) {
                            Ok(edited) => {
                                write(&file, &edited, &who)?;
                                done = true;
                            }
                            Err(n) => count += n,
                        }
                    }
                    if !(done || *optional && count == 0) {
                        let first = anchor.lines().find(|l| !l.trim().is_empty()).unwrap_or("").trim();
                        let times = if count == 0 { "is not there".into() } else { format!("is there {count} times") };
                        return fail(format!("{who}: in {path} the anchor '{first}' {times}{hint}"));
                    }
                }
            }
        }
        Ok(())
    }
}

fn read(file: &Path, who: &str, path: &str, hint: &str) -> Result<String, Error> {
    std::fs::read_to_string(file).map_err(|e| Error(format!("{who}: cannot read {path}: {e}{hint}")))
}

fn write(file: &Path, text: &str, who: &str) -> Result<(), Error> {
    std::fs::write(file, text).map_err(|e| Error(format!("{who}: cannot write {}: {e}", file.display())))
}

#[cfg(test)]
#[path = "edit_test.rs"]
mod edit_test;
