//! The rooms of `src/` and the arrows between them: every room uses only what the table allows.
//! ARCHITECTURE.md draws the same table.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// A room, and the rooms that it may use in addition to [`EVERYWHERE`].
const TABLE: [(&str, &[&str]); 28] = [
    (
        "doctor",
        &[
            "client", "server", "inquiry", "api", "wire", "config", "network",
        ],
    ),
    (
        "feed",
        &[
            "client", "session", "api", "events", "topics", "config", "network",
        ],
    ),
    (
        "client",
        &[
            "session", "server", "inquiry", "backfill", "api", "http", "stats", "downlink",
            "events", "recovery", "mqtt", "wire", "config", "network", "closure", "topics",
        ],
    ),
    (
        "session",
        &[
            "server", "inquiry", "backfill", "api", "stats", "downlink", "events", "recovery",
            "mqtt", "wire", "config", "network", "topics",
        ],
    ),
    ("topics", &["config", "network"]),
    ("server", &["api", "http", "wire", "config", "network"]),
    ("inquiry", &["api", "config", "network"]),
    ("backfill", &["api", "records", "config", "network"]),
    ("api", &["http", "records", "config", "network"]),
    ("recording", &["records", "network"]),
    ("records", &["network"]),
    ("http", &["wire", "config"]),
    ("stats", &["events", "network"]),
    ("downlink", &["network", "config"]),
    ("events", &["config"]),
    ("recovery", &["closure", "config"]),
    ("mqtt", &["wire", "config"]),
    ("wire", &["config"]),
    ("config", &["network"]),
    ("network", &[]),
    ("closure", &[]),
    ("simulator", &["network"]),
    ("fuzzing", &["config", "network"]),
    // Rooms that every room may use depend on even less.
    ("message", &[]),
    ("sync", &[]),
    ("process", &[]),
    ("clock", &[]),
    ("error", &[]),
];

/// Rooms that every room may use, except the rooms below them.
const EVERYWHERE: [&str; 5] = ["message", "error", "sync", "process", "clock"];

/// Crates that only these places may name: the beginning of the name, and the places.
const CRATES: [(&str, &[&str]); 6] = [
    ("paho_mqtt", &["mqtt/paho.rs"]),
    ("ureq", &["http.rs"]),
    ("rustls", &["wire/", "simulator/tls.rs"]),
    ("webpki", &["wire/"]),
    ("httparse", &["simulator/http/"]),
    ("rcgen", &["simulator/tls.rs"]),
];

#[test]
fn every_room_uses_only_what_the_table_allows() {
    let house = House::read(&src());
    let mut wrong = Vec::new();
    for (file, paths) in &house.files {
        for path in paths {
            let Some(target) = house.room_behind(path) else {
                wrong.push(format!("{}: {path:?} leads nowhere", file.display()));
                continue;
            };
            let Some(room) = room_of(file) else { continue };
            if target != room && !is_allowed(&room, &target) {
                wrong.push(format!("{}: {room} -> {target}", file.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that are not in the table:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn no_room_passes_on_another() {
    let house = House::read(&src());
    for (file, paths) in &house.passed_on {
        for path in paths.iter().filter(|_| room_of(file).is_some()) {
            let target = house.room_behind(path);
            let is_everywhere = target.is_some_and(|room| EVERYWHERE.contains(&room.as_str()));
            assert!(is_everywhere, "{} passes on {path:?}", file.display());
        }
    }
}

#[test]
fn the_table_has_a_row_for_every_room_and_a_room_for_every_row() {
    let house = House::read(&src());
    let rooms: BTreeSet<String> = house
        .files
        .keys()
        .filter_map(|file| room_of(file))
        .collect();
    let rows: BTreeSet<String> = TABLE.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, rows);
}

#[test]
fn the_table_has_no_circle() {
    assert_eq!(circle(&table()), None);
}

#[test]
fn each_foreign_engine_is_named_in_one_place() {
    let house = House::read(&src());
    for (name, places) in CRATES {
        let mut naming = BTreeSet::new();
        for (file, names) in &house.names {
            let file = file.to_string_lossy().replace('\\', "/");
            if names.iter().any(|other| other.starts_with(name)) {
                let is_allowed = places.iter().any(|place| file.starts_with(place));
                assert!(is_allowed, "{file} names {name}");
                naming.insert(file);
            }
        }
        for place in places {
            let is_used = naming.iter().any(|file| file.starts_with(place));
            assert!(is_used, "{place} names {name} no longer");
        }
    }
}

#[test]
fn threads_are_started_in_one_place() {
    let house = House::read(&src());
    let starting = |names: &BTreeSet<String>| names.contains("spawn") || names.contains("scope");
    let places: Vec<_> = house
        .names
        .iter()
        .filter(|(_, names)| starting(names))
        .map(|(file, _)| file.to_owned())
        .collect();
    assert_eq!(places, [Path::new("process.rs")]);
}

#[test]
fn a_circle_is_found() {
    let rows = |rows: &[(&'static str, &[&'static str])]| {
        rows.iter()
            .map(|(room, uses)| (*room, uses.to_vec()))
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(
        circle(&rows(&[("a", &["b"]), ("b", &["c"]), ("c", &[])])),
        None
    );
    let found = circle(&rows(&[("a", &["b"]), ("b", &["c"]), ("c", &["a"])])).unwrap();
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn every_way_to_name_another_room_is_seen() {
    let found = |text: &str| Source::read(text, &["client".to_owned()]).paths;
    let path = |text: &str| text.split("::").map(str::to_owned).collect::<Vec<_>>();
    for (text, expected) in [
        ("use crate::wire::Wire;", vec!["wire::Wire"]),
        (
            "use crate::{wire::{self, Wire}, config};",
            vec!["wire::self", "wire::Wire", "config"],
        ),
        (
            "pub(crate) use crate::wire::Wire as Line;",
            vec!["wire::Wire"],
        ),
        ("use super::wire::Wire;", vec!["wire::Wire"]),
        (
            "use super::{wire, config::Pace};",
            vec!["wire", "config::Pace"],
        ),
        ("fn f() -> crate::wire::Wire { g() }", vec!["wire::Wire"]),
        ("fn f() { crate::Error::new(); }", vec!["Error::new"]),
        ("pub(in crate::wire) fn f() {}", vec!["wire"]),
        (
            "use self::setters::Setter;",
            vec!["client::setters::Setter"],
        ),
        (
            "mod inner { use super::super::wire::Wire; }",
            vec!["wire::Wire"],
        ),
        ("mod inner { use super::setters; }", vec!["client::setters"]),
        (
            "// use crate::wire::Wire;\n/* crate::wire */ /// [`x`](crate::wire)",
            vec![],
        ),
        (
            r#"const S: &str = "crate::wire"; const C: char = '"';"#,
            vec![],
        ),
        (r##"const S: &str = r#"crate::"wire"#;"##, vec![]),
        (
            "#[cfg(test)]\nmod tests { use crate::wire::Wire; }\nuse crate::config;",
            vec!["config"],
        ),
        (
            "#[cfg(test)]\nuse crate::wire::Wire;\nuse crate::config;",
            vec!["config"],
        ),
        (
            "#[cfg(all(test, feature = \"x\"))]\nmod tests { crate::wire::f() }",
            vec![],
        ),
        (
            "#[cfg(feature = \"tls\")]\nuse crate::wire::Wire;",
            vec!["wire::Wire"],
        ),
        (
            "fn f<'a>(text: &'a str) -> crate::wire::Wire { g(text) }",
            vec!["wire::Wire"],
        ),
        ("use crate::r#wire::Wire;", vec!["wire::Wire"]),
        (
            "macro_rules! f { () => { $crate::wire::f() } }",
            vec!["wire::f"],
        ),
        ("use self::super::wire::Wire;", vec!["wire::Wire"]),
        ("fn f() { self::super::wire::g() }", vec!["wire::g"]),
        (
            "mod inner { use super::{super::wire::Wire}; }",
            vec!["wire::Wire"],
        ),
        (
            "fn f(a: &str) -> impl Fn() + use<'_> { crate::wire::g(a) } fn h() { crate::config::f() }",
            vec!["wire::g", "config::f"],
        ),
        (
            "struct S { #[cfg(test)] a: u8, b: crate::wire::Wire } fn f() { crate::config::f() }",
            vec!["wire::Wire", "config::f"],
        ),
        (
            "fn f() { match x { #[cfg(test)] A => 1, _ => crate::wire::f() } }",
            vec!["wire::f"],
        ),
        (
            "fn f() { #[cfg(test)] seen(1, 2); crate::wire::f() }",
            vec!["wire::f"],
        ),
        (
            "#[cfg(test)] fn f<A, B>(a: [u8; 2]) -> [u8; 2] { crate::wire::f() }",
            vec![],
        ),
        (
            "#[serde(with = \"crate::wire::json\")] a: u8",
            vec!["wire::json"],
        ),
    ] {
        let expected: Vec<_> = expected.into_iter().map(path).collect();
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn another_name_for_the_crate_leads_nowhere() {
    let house = House::read(&src());
    for text in [
        "use crate as c;",
        "use super as c;",
        "use crate::*;",
        "use super::*;",
        "extern crate self as c;",
    ] {
        let paths = Source::read(text, &["client".to_owned()]).paths;
        assert_eq!(paths.len(), 1, "{text}");
        assert_eq!(house.room_behind(&paths[0]), None, "{text}");
    }
}

#[test]
fn a_room_that_passes_on_another_is_seen() {
    let passed_on = |text: &str| Source::read(text, &["client".to_owned()]).passed_on;
    for (text, expected) in [
        ("pub(crate) use crate::wire::Wire;", 1),
        ("pub use super::{wire::Wire, config::Pace};", 2),
        ("use crate::wire; pub(super) use wire::Wire;", 1),
        (
            "use crate::wire; pub(in crate::client) use self::wire::Wire;",
            1,
        ),
        ("use crate::{wire as line}; pub use line::Wire;", 1),
        ("use crate::wire::Wire; pub use Wire as Line;", 1),
        ("use crate::wire::Wire;", 0),
        (
            "mod setters; pub use setters::Setter; pub use self::setters::f;",
            0,
        ),
        ("pub use crate::error::Error;", 0),
        ("pub use anyhow; pub use std::io;", 0),
    ] {
        assert_eq!(passed_on(text).len(), expected, "{text}");
    }
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn table() -> BTreeMap<&'static str, Vec<&'static str>> {
    TABLE
        .iter()
        .map(|(room, uses)| (*room, uses.to_vec()))
        .collect()
}

fn is_allowed(room: &str, target: &str) -> bool {
    if EVERYWHERE.contains(&target) {
        return match room {
            "message" => target == "error",
            "error" | "sync" | "clock" => false,
            "process" => target == "error" || target == "sync",
            _ => true,
        };
    }
    table().get(room).is_some_and(|uses| uses.contains(&target))
}

/// Returns rooms each of which uses the next, where the last is the first again.
fn circle<'a>(table: &BTreeMap<&'a str, Vec<&'a str>>) -> Option<Vec<&'a str>> {
    fn walk<'a>(
        room: &'a str,
        table: &BTreeMap<&'a str, Vec<&'a str>>,
        way: &mut Vec<&'a str>,
    ) -> Option<Vec<&'a str>> {
        way.push(room);
        if way[..way.len() - 1].contains(&room) {
            return Some(way.clone());
        }
        for next in table.get(room).into_iter().flatten() {
            if let Some(found) = walk(next, table, way) {
                return Some(found);
            }
        }
        way.pop();
        None
    }
    table
        .keys()
        .find_map(|room| walk(room, table, &mut Vec::new()))
}

/// Returns the folder or file directly below `src/`; `None` for `lib.rs`.
fn room_of(file: &Path) -> Option<String> {
    let first = file.components().next()?;
    let name = Path::new(first.as_os_str()).file_stem()?.to_str()?;
    (name != "lib").then(|| name.to_owned())
}

/// The sources that are compiled into the library, by their paths below `src/`.
#[derive(Default)]
struct House {
    /// The paths in each file, from the root of the crate.
    files: BTreeMap<PathBuf, Vec<Vec<String>>>,
    /// Every identifier in each file.
    names: BTreeMap<PathBuf, BTreeSet<String>>,
    /// What each re-exports from outside its room.
    passed_on: BTreeMap<PathBuf, Vec<Vec<String>>>,
    /// The names that `lib.rs` re-exports, each with its room.
    exports: BTreeMap<String, String>,
}

impl House {
    fn read(src: &Path) -> Self {
        let mut house = Self::default();
        house.add(src, Path::new("lib.rs"), &[], src);
        assert!(house.files.len() > 100, "only {} files", house.files.len());
        house
    }

    /// Adds a file, whose children are in `folder`, and the modules that it declares.
    fn add(&mut self, src: &Path, file: &Path, module: &[String], folder: &Path) {
        let text = fs::read_to_string(src.join(file)).unwrap();
        let source = Source::read(&text, module);
        if module.is_empty() {
            for path in &source.relative {
                if let [room, .., name] = &path[..] {
                    self.exports.insert(name.clone(), room.clone());
                }
            }
        }
        for name in &source.modules {
            let (leaf, branch) = (
                folder.join(format!("{name}.rs")),
                folder.join(name).join("mod.rs"),
            );
            let child = if branch.exists() { branch } else { leaf };
            let mut module = module.to_vec();
            module.push(name.clone());
            let child = child.strip_prefix(src).unwrap().to_owned();
            self.add(src, &child, &module, &folder.join(name));
        }
        self.files.insert(file.to_owned(), source.paths);
        self.names.insert(file.to_owned(), source.names);
        self.passed_on.insert(file.to_owned(), source.passed_on);
    }

    /// Returns the room that a path leads to, through `lib.rs` if necessary.
    fn room_behind(&self, path: &[String]) -> Option<String> {
        let first = path.first()?;
        let is_room = self
            .files
            .keys()
            .any(|file| room_of(file).as_deref() == Some(first.as_str()));
        if is_room {
            return Some(first.clone());
        }
        self.exports.get(first).cloned()
    }
}

/// The compiled parts of one file.
#[derive(Default)]
struct Source {
    /// Paths that begin with `crate`, `super` or `self`, from the root of the crate.
    paths: Vec<Vec<String>>,
    /// Paths of `use` that begin in another way.
    relative: Vec<Vec<String>>,
    /// Paths of `pub use` that lead to another room, except those that everybody may use.
    passed_on: Vec<Vec<String>>,
    /// Modules in files of their own.
    modules: Vec<String>,
    names: BTreeSet<String>,
}

impl Source {
    fn read(text: &str, module: &[String]) -> Self {
        let tokens = without_tests(&tokens(text));
        let mut source = Self::default();
        let mut place = module.to_vec();
        // The depth of the braces where each inline module began.
        let mut inline = Vec::new();
        // What each module imports, by its name there, and what it re-exports.
        let mut imported = BTreeMap::new();
        let mut exported = Vec::new();
        let mut depth = 0;
        let mut at = 0;
        while at < tokens.len() {
            let token = tokens[at].as_str();
            let next = |ahead: usize| tokens.get(at + ahead).map(String::as_str);
            match token {
                "{" => depth += 1,
                "}" => {
                    depth -= 1;
                    if inline.last() == Some(&depth) {
                        inline.pop();
                        place.pop();
                    }
                }
                "mod" => {
                    let name = next(1).unwrap_or_default().to_owned();
                    match next(2) {
                        Some(";") => source.modules.push(name),
                        Some("{") => {
                            inline.push(depth);
                            place.push(name);
                        }
                        _ => {}
                    }
                }
                // It can also be a part of a type: `impl Trait + use<'a>`.
                "use" if next(1) != Some("<") => {
                    let is_public = is_public(&tokens[..at]);
                    let mut found = Vec::new();
                    at = read_tree(&tokens, at + 1, &[], &mut found);
                    for Import { path, name } in found {
                        let mut place = place.clone();
                        let here = [&place[..], &path[..]].concat();
                        let absolute = resolve(&path, &place);
                        if is_public {
                            exported.push(absolute.clone().unwrap_or(here));
                        }
                        match absolute {
                            Some(path) => {
                                source.paths.push(path.clone());
                                place.push(name);
                                imported.insert(place, path);
                            }
                            None => source.relative.push(path),
                        }
                    }
                    continue;
                }
                "extern" if next(1) == Some("crate") && next(2) == Some("self") => {
                    source.paths.push(vec!["self".to_owned()]);
                }
                "crate" | "super" | "self" if next(1) == Some("::") => {
                    let mut path = vec![token.to_owned()];
                    while tokens.get(at + 1).is_some_and(|token| token == "::")
                        && tokens.get(at + 2).is_some_and(|token| is_name(token))
                    {
                        path.push(tokens[at + 2].clone());
                        at += 2;
                    }
                    source.paths.extend(resolve(&path, &place));
                }
                _ => {}
            }
            at += 1;
        }
        let own = |path: &Vec<String>| path.first() == module.first();
        let everywhere = |room: &String| EVERYWHERE.contains(&room.as_str());
        source.passed_on = exported
            .into_iter()
            .map(|path| through(&path, &imported))
            .filter(|path| !own(path) && !path.first().is_some_and(everywhere))
            .collect();
        source.names = tokens.into_iter().filter(|token| is_name(token)).collect();
        source
    }
}

/// A path of `use`, and the name that it gets.
struct Import {
    path: Vec<String>,
    name: String,
}

/// Whether the tokens end with a visibility.
fn is_public(tokens: &[String]) -> bool {
    let end = match tokens.last().map(String::as_str) {
        Some(")") => tokens.iter().rposition(|token| token == "("),
        _ => Some(tokens.len()),
    };
    end.is_some_and(|end| tokens[..end].last().is_some_and(|token| token == "pub"))
}

/// The path behind what a module has imported, if it begins with that.
fn through(path: &[String], imported: &BTreeMap<Vec<String>, Vec<String>>) -> Vec<String> {
    (1..=path.len())
        .find_map(|length| {
            let target = imported.get(&path[..length])?;
            (target[..] != path[..length]).then(|| [&target[..], &path[length..]].concat())
        })
        .unwrap_or_else(|| path.to_vec())
}

/// Reads a tree of `use` from `at` on; where it ends.
fn read_tree(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    found: &mut Vec<Import>,
) -> usize {
    let mut path = prefix.to_vec();
    let mut alias = None;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => {}
            "as" => {
                at += 1;
                alias = tokens.get(at).cloned();
            }
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = read_tree(tokens, at, &path, found);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            name => path.push(name.to_owned()),
        }
        at += 1;
    }
    let last = path.iter().rfind(|segment| *segment != "self");
    let name = alias.or_else(|| last.cloned()).unwrap_or_default();
    found.push(Import { path, name });
    at
}

/// Returns the path from the root of the crate; `None` for a path that leads out of it.
fn resolve(path: &[String], place: &[String]) -> Option<Vec<String>> {
    let mut base = place.to_vec();
    let mut rest = path;
    match path.first()?.as_str() {
        "crate" => {
            base.clear();
            rest = &path[1..];
        }
        "self" => rest = &path[1..],
        "super" => {}
        _ => return None,
    }
    while rest.first().is_some_and(|segment| segment == "super") {
        base.pop();
        rest = &rest[1..];
    }
    base.extend_from_slice(rest);
    Some(base)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Names and punctuation, without comments and without what stands between quotes, except for a path
/// in an attribute.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    // How deep the brackets of an attribute are.
    let mut attribute = 0;
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = raw_string(rest) {
            length
        } else if first == '"' {
            let length = quoted(rest, '"');
            let inside = rest[1..length].trim_end_matches('"');
            let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
            if attribute > 0 && inside.contains("::") && inside.chars().all(is_part) {
                tokens.extend(self::tokens(inside));
            }
            length
        } else if first == '\'' {
            character(rest)
        } else if rest.starts_with("r#") && is_name(&rest[2..]) {
            2
        } else if first.is_alphabetic() || first == '_' {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_');
            let end = end.unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            let begins = attribute > 0 || tokens.last().is_some_and(|token| token == "#");
            match first {
                '[' if begins => attribute += 1,
                ']' if attribute > 0 => attribute -= 1,
                _ => {}
            }
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    tokens
}

/// Returns the length of a raw string that begins here.
fn raw_string(text: &str) -> Option<usize> {
    let start = text.strip_prefix('b').unwrap_or(text).strip_prefix('r')?;
    let hashes = start.len() - start.trim_start_matches('#').len();
    let body = start[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end)? + end.len();
    Some(text.len() - body.len() + length)
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (index, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return index + 1,
            _ => {}
        }
    }
    text.len()
}

/// Returns the length of a character literal, or of the quote before a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) | (_, Some('\'')) => quoted(text, '\''),
        _ => 1,
    }
}

/// Removes the items that are only for tests.
fn without_tests(tokens: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_attribute = tokens[at] == "#" && tokens.get(at + 1).is_some_and(|t| t == "[");
        if !is_attribute {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        let end = matching(tokens, at + 1, "[", "]");
        let attribute = &tokens[at..end];
        let is_test = attribute.get(2).is_some_and(|token| token == "cfg")
            && attribute.iter().any(|token| token == "test")
            && !attribute
                .iter()
                .any(|token| token == "not" || token == "any");
        at = if is_test {
            end_of_item(tokens, end)
        } else {
            end
        };
        if !is_test {
            kept.extend_from_slice(attribute);
        }
    }
    kept
}

/// Returns where the bracket that opens at `at` or after it is closed.
fn matching(tokens: &[String], at: usize, open: &str, close: &str) -> usize {
    let mut depth = 0;
    for (index, token) in tokens.iter().enumerate().skip(at) {
        if token == open {
            depth += 1;
        } else if token == close {
            depth -= 1;
            if depth == 0 {
                return index + 1;
            }
        }
    }
    tokens.len()
}

/// What an item begins with.
const ITEMS: [&str; 16] = [
    "async",
    "const",
    "enum",
    "extern",
    "fn",
    "impl",
    "let",
    "macro_rules",
    "mod",
    "static",
    "struct",
    "trait",
    "type",
    "union",
    "unsafe",
    "use",
];

/// The end of the item that begins at `at`: its semicolon, or the end of its braces. Anything else,
/// such as a field or a match arm, can also end with a comma, or before the bracket that closes around it.
fn end_of_item(tokens: &[String], mut at: usize) -> usize {
    let is = |at: usize, expected: &str| tokens.get(at).is_some_and(|token| token == expected);
    while is(at, "#") && is(at + 1, "[") {
        at = matching(tokens, at + 1, "[", "]");
    }
    if is(at, "pub") {
        at += 1;
        if is(at, "(") {
            at = matching(tokens, at, "(", ")");
        }
    }
    let is_use = is(at, "use");
    let is_item = tokens
        .get(at)
        .is_some_and(|token| ITEMS.contains(&token.as_str()));
    while at < tokens.len() {
        match tokens[at].as_str() {
            ";" => return at + 1,
            "," if !is_item => return at + 1,
            "}" | ")" | "]" => return at,
            "(" => at = matching(tokens, at, "(", ")"),
            "[" => at = matching(tokens, at, "[", "]"),
            "{" if is_use => at = matching(tokens, at, "{", "}"),
            "{" => return matching(tokens, at, "{", "}"),
            _ => at += 1,
        }
    }
    at
}
