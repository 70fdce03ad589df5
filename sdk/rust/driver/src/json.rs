// SPDX-License-Identifier: Apache-2.0
//! Just enough JSON to read what `cargo metadata` prints.

use std::collections::BTreeMap;

#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

const NULL: Json = Json::Null;
const DEPTH_MAX: usize = 128; // Cargo's own output nests about ten deep.

impl Json {
    /// The member `key`, or Null.
    pub fn get(&self, key: &str) -> &Json {
        match self {
            Json::Map(m) => m.get(key).unwrap_or(&NULL),
            _ => &NULL,
        }
    }
    pub fn text(&self) -> &str {
        match self {
            Json::Text(s) => s,
            _ => "",
        }
    }
    pub fn list(&self) -> &[Json] {
        match self {
            Json::List(l) => l,
            _ => &[],
        }
    }
}

/// Parses one JSON document. The error is the byte offset where it stops to make sense.
pub fn parse(text: &str) -> Result<Json, usize> {
    let mut p = Parser { bytes: text.as_bytes(), text, at: 0 };
    let value = p.value(0)?;
    p.space();
    if p.at == p.bytes.len() {
        Ok(value)
    } else {
        Err(p.at)
    }
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
}

impl Parser<'_> {
    fn space(&mut self) {
        while self.bytes.get(self.at).is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, word: &str) -> Result<(), usize> {
        if self.bytes[self.at..].starts_with(word.as_bytes()) {
            self.at += word.len();
            Ok(())
        } else {
            Err(self.at)
        }
    }

    fn value(&mut self, depth: usize) -> Result<Json, usize> {
        if depth > DEPTH_MAX {
            return Err(self.at);
        }
        self.space();
        match self.bytes.get(self.at).copied().ok_or(self.at)? {
            b'n' => self.take("null").map(|()| Json::Null),
            b't' => self.take("true").map(|()| Json::Bool(true)),
            b'f' => self.take("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::Text),
            b'[' => {
                let mut list = Vec::new();
                self.at += 1;
                self.sequence(b']', |p| {
                    list.push(p.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Json::List(list))
            }
            b'{' => {
                let mut map = BTreeMap::new();
                self.at += 1;
                self.sequence(b'}', |p| {
                    let key = p.string()?;
                    p.space();
                    p.take(":")?;
                    map.insert(key, p.value(depth + 1)?);
                    Ok(())
                })?;
                Ok(Json::Map(map))
            }
            _ => {
                let start = self.at;
                while self.bytes.get(self.at).is_some_and(|b| b"+-.0123456789eE".contains(b)) {
                    self.at += 1;
                }
                self.text[start..self.at].parse().map(Json::Number).map_err(|_| start)
            }
        }
    }

    fn sequence(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), usize>) -> Result<(), usize> {
        self.space();
        if self.bytes.get(self.at) == Some(&close) {
            self.at += 1;
            return Ok(());
        }
        loop {
            self.space();
            item(self)?;
            self.space();
            match self.bytes.get(self.at) {
                Some(b',') => self.at += 1,
                Some(b) if *b == close => {
                    self.at += 1;
                    return Ok(());
                }
                _ => return Err(self.at),
            }
        }
    }

    fn string(&mut self) -> Result<String, usize> {
        self.take("\"")?;
        let mut out = String::new();
        loop {
            let start = self.at;
            while !matches!(self.bytes.get(self.at).ok_or(self.at)?, b'"' | b'\\') {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            self.at += 1;
            if self.bytes[self.at - 1] == b'"' {
                return Ok(out);
            }
            let escape = *self.bytes.get(self.at).ok_or(self.at)?;
            self.at += 1;
            match escape {
                b'n' => out.push('\n'),
                b't' => out.push('\t'),
                b'r' => out.push('\r'),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'u' => {
                    let mut unit = self.hex()?;
                    if (0xD800..0xDC00).contains(&unit) && self.take("\\u").is_ok() {
                        unit = 0x10000 + ((unit - 0xD800) << 10) + (self.hex()? & 0x3FF);
                    }
                    out.push(char::from_u32(unit).unwrap_or('\u{FFFD}'));
                }
                other => out.push(other as char),
            }
        }
    }

    fn hex(&mut self) -> Result<u32, usize> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(self.at)?;
        let unit = u32::from_str_radix(digits, 16).map_err(|_| self.at)?;
        self.at += 4;
        Ok(unit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_cargo_prints() {
        let doc = parse(r#"{"a":[1,-2.5e3,true,null],"b":{"c":"x\n\u00e9\ud83d\ude00\\"},"d":[],"e":{}}"#).unwrap();
        assert_eq!(doc.get("a").list().len(), 4);
        assert_eq!(doc.get("b").get("c").text(), "x\né😀\\");
        assert_eq!(doc.get("missing").get("deeper"), &Json::Null);
    }

    #[test]
    fn broken_documents_are_errors_and_never_panics() {
        let whole = r#"{"a":[1,{"b":"\u00e9\ud83d\ude00"}],"c":false}"#;
        for cut in 0..whole.len() {
            if whole.is_char_boundary(cut) {
                assert!(parse(&whole[..cut]).is_err(), "{cut}");
            }
        }
        for bad in ["{\"a\":1}x", "[1,]", "{a:1}", "\"\\u12\"", "-", "[1 2]"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert!(parse(&"[".repeat(100_000)).is_err());
    }
}
