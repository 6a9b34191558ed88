//! The structure of the sources: in which direction the hub's rooms may use each other, that no two files of any crate
//! use each other in a circle, and that no file is too long. docs/ARCHITECTURE.md has the rooms.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, Meta, Token, UseTree};

/// Every room may use those behind it.
const ROOMS: &[&str] = &[
    "main",
    "cli",
    "runtime",
    "serve",
    "dashboard",
    "compat",
    "http",
    "deliver",
    "transfer",
    "registry",
    "follow",
    "auth",
    "read",
    "store",
    "config",
    "tls",
    "domain",
];

/// How many lines a file of a program may have.
const MAX_LINES: usize = 500;

/// The segments of a module's path within its crate; empty: the crate's root.
type Module = Vec<String>;

/// The modules of a crate, each with its file and the modules that it uses. Tests are left out.
struct Sources {
    files: BTreeMap<Module, PathBuf>,
    uses: BTreeMap<Module, BTreeSet<Module>>,
}

impl Sources {
    /// Reads all that a folder holds, beginning at these files.
    fn read(root: &Path, begin: &[&str]) -> Self {
        let mut sources = Self {
            files: BTreeMap::new(),
            uses: BTreeMap::new(),
        };
        let mut paths = BTreeMap::new();
        for file in begin {
            let path = root.join(file);
            if path.exists() {
                let name = file.trim_end_matches(".rs");
                let module = match name {
                    "lib" => Vec::new(),
                    name => vec![name.to_owned()],
                };
                sources.read_file(module, path, root, &mut paths);
            }
        }
        for (module, found) in paths {
            let used = found
                .iter()
                .filter_map(|path| sources.resolve(&module, path))
                .filter(|used| *used != module);
            let used = used.collect();
            sources.uses.insert(module, used);
        }
        sources
    }

    fn read_file(
        &mut self,
        module: Module,
        path: PathBuf,
        folder: &Path,
        paths: &mut BTreeMap<Module, BTreeSet<Vec<String>>>,
    ) {
        let text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut found = Paths::default();
        for item in &file.items {
            if let Item::Mod(child) = item
                && child.content.is_none()
            {
                if is_for_tests(&child.attrs) {
                    continue;
                }
                let name = child.ident.to_string();
                let plain = folder.join(format!("{name}.rs"));
                let nested = folder.join(&name);
                let path = if plain.exists() {
                    plain
                } else {
                    nested.join("mod.rs")
                };
                let mut child = module.clone();
                child.push(name);
                self.read_file(child, path, &nested, paths);
            } else {
                found.visit_item(item);
            }
        }
        self.files.insert(module.clone(), path);
        paths.insert(module, found.0);
    }

    /// The module that a path in another one leads to; `None`: it leads out of the crate.
    fn resolve(&self, from: &Module, path: &[String]) -> Option<Module> {
        let mut rest = path;
        let mut base = match rest.first()?.as_str() {
            "crate" => {
                rest = &rest[1..];
                Vec::new()
            }
            "self" => {
                rest = &rest[1..];
                from.clone()
            }
            "super" => {
                let mut base = from.clone();
                while rest.first().is_some_and(|segment| segment == "super") {
                    base.pop();
                    rest = &rest[1..];
                }
                base
            }
            // In Rust 2018 and later a bare name is a child, or a crate.
            name => {
                let mut child = from.clone();
                child.push(name.to_owned());
                if !self.files.contains_key(&child) {
                    return None;
                }
                from.clone()
            }
        };
        for segment in rest {
            base.push(segment.clone());
            if !self.files.contains_key(&base) {
                base.pop();
                break;
            }
        }
        Some(base)
    }

    /// Each arrow from a room to one before it, as `file -> file`.
    fn arrows_up(&self) -> Vec<String> {
        let room = |module: &Module| {
            let name = module.first()?;
            ROOMS.iter().position(|room| room == name)
        };
        let mut found = Vec::new();
        for (module, used) in &self.uses {
            for used in used {
                if let (Some(from), Some(to)) = (room(module), room(used))
                    && to < from
                {
                    found.push(self.arrow(module, used));
                }
            }
        }
        found
    }

    /// The arrows of each circle, as `file -> file`. A module's arrows to its own children do not count.
    fn circles(&self) -> Vec<String> {
        let uses = |module: &Module| {
            let uses = self.uses.get(module).into_iter().flatten();
            let from = module.clone();
            uses.filter(move |used| !used.starts_with(&from))
        };
        let mut reached: BTreeMap<&Module, BTreeSet<&Module>> = BTreeMap::new();
        for start in self.uses.keys() {
            let mut seen = BTreeSet::new();
            let mut ahead: Vec<&Module> = uses(start).collect();
            while let Some(module) = ahead.pop() {
                if seen.insert(module) {
                    ahead.extend(uses(module));
                }
            }
            reached.insert(start, seen);
        }
        let mut found = Vec::new();
        for module in self.uses.keys() {
            for used in uses(module) {
                if reached.get(used).is_some_and(|seen| seen.contains(module)) {
                    found.push(self.arrow(module, used));
                }
            }
        }
        found
    }

    fn arrow(&self, from: &Module, to: &Module) -> String {
        let name = |module| {
            let path: &PathBuf = &self.files[module];
            path.display().to_string()
        };
        format!("{} -> {}", name(from), name(to))
    }
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<Meta>()
                .is_ok_and(|condition| needs_test(&condition))
    })
}

/// Whether a condition holds in test builds only: `test`, or `all(…)` with it.
fn needs_test(condition: &Meta) -> bool {
    match condition {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|all| all.iter().any(needs_test)),
        _ => false,
    }
}

/// The paths that a file names, without those of its tests.
#[derive(Default)]
struct Paths(BTreeSet<Vec<String>>);

impl Paths {
    fn add_tree(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&path.tree, &with(path.ident.to_string())),
            UseTree::Name(name) => drop(self.0.insert(with(name.ident.to_string()))),
            UseTree::Rename(name) => drop(self.0.insert(with(name.ident.to_string()))),
            UseTree::Glob(_) => drop(self.0.insert(before.to_vec())),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_tree(tree, before);
                }
            }
        }
    }
}

impl Visit<'_> for Paths {
    fn visit_item_use(&mut self, item: &syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.add_tree(&item.tree, &[]);
        }
    }

    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_path(&mut self, path: &syn::Path) {
        if path.segments.len() > 1 {
            let segments = path.segments.iter();
            self.0
                .insert(segments.map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

/// The files below a folder that have too many lines, as `file: lines`. Files of tests may be longer.
fn too_long(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap();
        if path.is_dir() {
            found.extend(too_long(&path));
        } else if name.ends_with(".rs") && !name.ends_with("_tests.rs") {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > MAX_LINES {
                found.push(format!("{}: {lines}", path.display()));
            }
        }
    }
    found.sort_unstable();
    found
}

fn hub() -> Sources {
    Sources::read(&workspace().join("hub/src"), &["lib.rs", "main.rs"])
}

#[test]
fn no_module_of_the_hub_uses_an_earlier_one() {
    let sources = hub();
    assert!(sources.files.len() > 150, "{}", sources.files.len());
    assert_eq!(sources.arrows_up(), [""; 0]);
}

#[test]
fn the_hub_has_no_loose_files() {
    let loose: Vec<String> = fs::read_dir(workspace().join("hub/src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !ROOMS.contains(&name.as_str()))
        .collect();
    let mut loose: Vec<&str> = loose.iter().map(String::as_str).collect();
    loose.sort_unstable();
    assert_eq!(loose, ["lib.rs", "main.rs"]);
}

#[test]
fn no_files_of_a_crate_use_each_other_in_a_circle() {
    for name in ["shared", "agent-upstream", "agent-downstream", "hub", "e2e"] {
        let folder = workspace().join(name).join("src");
        let sources = Sources::read(&folder, &["lib.rs", "main.rs"]);
        assert!(!sources.files.is_empty(), "{name}");
        assert_eq!(sources.circles(), [""; 0], "{name}");
    }
}

#[test]
fn no_file_of_a_program_is_too_long() {
    for folder in [
        "shared/src",
        "agent-upstream/src",
        "agent-downstream/src",
        "hub/src",
        "e2e/src",
        "fuzz/fuzz_targets",
    ] {
        let found = too_long(&workspace().join(folder));
        assert_eq!(found, [""; 0], "split what has more than {MAX_LINES} lines");
    }
}

#[test]
fn planted_long_files_are_found() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("room")).unwrap();
    for (file, lines) in [
        ("lib.rs", MAX_LINES),
        ("room/long.rs", MAX_LINES + 1),
        ("room/long_tests.rs", MAX_LINES + 1),
        ("room/page.html", MAX_LINES + 1),
    ] {
        fs::write(folder.path().join(file), "\n".repeat(lines)).unwrap();
    }
    let long = folder.path().join("room/long.rs");
    assert_eq!(
        too_long(folder.path()),
        [format!("{}: {}", long.display(), MAX_LINES + 1)]
    );
}

#[test]
fn planted_dependencies_are_found() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("lib.rs", "mod http; mod registry; mod store;"),
        (
            "http.rs",
            "use crate::{registry::{self, Door}, store::Row};",
        ),
        (
            "registry/mod.rs",
            "mod job; mod rule; fn f() { crate::http::answer(); }",
        ),
        ("registry/job.rs", "use super::rule::Rule;"),
        (
            "registry/rule.rs",
            "fn f(job: &super::job::Job) {} #[cfg(test)] mod tests { use crate::http::x; }",
        ),
        (
            "store.rs",
            "#[cfg(test)] mod tests { use crate::http::Hub; }",
        ),
    ] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let sources = Sources::read(folder.path(), &["lib.rs"]);
    let short = |arrows: Vec<String>| -> Vec<String> {
        let root = format!("{}/", folder.path().display());
        arrows
            .iter()
            .map(|arrow| arrow.replace(&root, ""))
            .collect()
    };
    assert_eq!(short(sources.arrows_up()), ["registry/mod.rs -> http.rs"]);
    assert_eq!(
        short(sources.circles()),
        [
            "http.rs -> registry/mod.rs",
            "registry/mod.rs -> http.rs",
            "registry/job.rs -> registry/rule.rs",
            "registry/rule.rs -> registry/job.rs",
        ]
    );
}
